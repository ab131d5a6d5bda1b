package builder

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"k6x"
)

// fake is a builder whose builds the test answers one by one.
type fake struct {
	started chan *running
	count   atomic.Int32
}

// running is a build of fake that waits for its answer.
type running struct {
	ctx    context.Context
	job    Job
	answer chan error // nil is success
}

func newFake() *fake { return &fake{started: make(chan *running, 100)} }

func (f *fake) Build(ctx context.Context, job Job) (k6x.Artifact, error) {
	f.count.Add(1)
	r := &running{ctx: ctx, job: job, answer: make(chan error, 1)}
	f.started <- r
	select {
	case err := <-r.answer:
		return k6x.Artifact{Recipe: job.Recipe, Digest: job.Recipe.Key()}, err
	case <-ctx.Done():
		return k6x.Artifact{}, ctx.Err()
	}
}

// builderFunc is a function as a [Builder].
type builderFunc func(ctx context.Context, job Job) (k6x.Artifact, error)

func (f builderFunc) Build(ctx context.Context, job Job) (k6x.Artifact, error) { return f(ctx, job) }

func recipe(version string) k6x.Recipe {
	return k6x.Recipe{
		Platform: k6x.Platform{OS: "linux", Arch: "amd64"},
		K6:       k6x.Module{Path: "go.k6.io/k6", Version: version, Names: []string{"k6"}},
	}
}

// job returns the job of a client.
func job(client, version string) Job { return Job{Recipe: recipe(version), Client: client} }

// behind returns a job in the background.
func behind(version string) Job {
	return Job{Recipe: recipe(version), Client: "preload", Priority: Background}
}

// again returns a job that builds what is there.
func again(version string) Job { return Job{Recipe: recipe(version), Rebuild: true} }

// call starts b.Build.
func call(ctx context.Context, b Builder, job Job) <-chan error {
	done := make(chan error, 1)
	go func() {
		artifact, err := b.Build(ctx, job)
		if err == nil && artifact.Digest != job.Recipe.Key() {
			err = errors.New("the artifact is of another recipe")
		}
		done <- err
	}()
	return done
}

func wantKind(t *testing.T, err error, kind k6x.Kind) *k6x.Error {
	t.Helper()
	if err == nil || k6x.KindOf(err) != kind {
		t.Fatalf("error %v is of kind %v, want %v", err, k6x.KindOf(err), kind)
	}
	return k6x.AsError(err)
}

// nothing fails the test if c has something now.
func nothing[T any](t *testing.T, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
		t.Fatal(what)
	default:
	}
}
