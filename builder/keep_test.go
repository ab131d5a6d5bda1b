package builder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"k6x"
)

var (
	errMissing = errors.New("missing")
	errBroken  = errors.New("the disk is broken")
)

// shelf is a store of one artifact.
type shelf struct {
	record *k6x.Artifact
	bytes  []byte // nil if evicted
	fail   error
}

// store is how a consumer holds a shelf, so that the test shows that the type
// parameter is found for an interface too.
type store interface {
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	Record(ctx context.Context, key string) (k6x.Artifact, error)
	Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error)) (k6x.Artifact, error)
}

func (s *shelf) Open(context.Context, string) (io.ReadCloser, error) {
	if s.bytes == nil {
		return nil, errors.New("evicted")
	}
	return io.NopCloser(bytes.NewReader(s.bytes)), nil
}

func (s *shelf) Record(context.Context, string) (k6x.Artifact, error) {
	if s.fail != nil {
		return k6x.Artifact{}, s.fail
	}
	if s.record == nil {
		return k6x.Artifact{}, errMissing
	}
	return *s.record, nil
}

func (s *shelf) Put(_ context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error)) (k6x.Artifact, error) {
	var buf bytes.Buffer
	build, err := fill(&buf)
	if err != nil {
		return k6x.Artifact{}, err
	}
	s.bytes = buf.Bytes()
	s.record = &k6x.Artifact{Recipe: recipe, Build: build}
	return *s.record, nil
}

// engine writes the version of k6 and counts.
type engine struct {
	builds int
	lock   *k6x.Lock // of the last build
	err    error
}

func (e *engine) Build(_ context.Context, recipe k6x.Recipe, lock *k6x.Lock, w io.Writer) (k6x.Build, error) {
	e.builds++
	e.lock = lock
	if e.err != nil {
		return k6x.Build{}, e.err
	}
	_, err := io.WriteString(w, recipe.K6.Version)
	return k6x.Build{Lock: k6x.Lock{GoMod: "module k6"}}, err
}

func TestKeepBuildsOnlyWhatIsNotThere(t *testing.T) {
	s, e := &shelf{}, &engine{}
	b := Keep(e, store(s), errMissing)
	for range 3 {
		artifact, err := b.Build(t.Context(), recipe("v1.0.0"))
		if err != nil {
			t.Fatal(err)
		}
		if artifact.Build.Lock.GoMod == "" {
			t.Error("the record is not the one that was stored")
		}
	}
	if e.builds != 1 || e.lock != nil || string(s.bytes) != "v1.0.0" {
		t.Errorf("%d builds, lock %v, bytes %q", e.builds, e.lock, s.bytes)
	}
}

func TestKeepRebuildsWhatWasEvictedWithItsLock(t *testing.T) {
	s, e := &shelf{}, &engine{}
	b := Keep(e, store(s), errMissing)
	for range 2 {
		if _, err := b.Build(t.Context(), recipe("v1.0.0")); err != nil {
			t.Fatal(err)
		}
		s.bytes = nil
	}
	if e.builds != 2 || e.lock == nil || e.lock.GoMod != "module k6" {
		t.Errorf("%d builds, the last with lock %v", e.builds, e.lock)
	}
}

func TestKeepReturnsTheErrorsOfStoreAndEngineAsTheyAre(t *testing.T) {
	e := &engine{err: errBroken}
	if _, err := Keep(e, store(&shelf{}), errMissing).Build(t.Context(), recipe("v1.0.0")); err != errBroken {
		t.Errorf("engine: %v", err)
	}
	e = &engine{}
	if _, err := Keep(e, store(&shelf{fail: errBroken}), errMissing).Build(t.Context(), recipe("v1.0.0")); err != errBroken || e.builds != 0 {
		t.Errorf("store: %v after %d builds", err, e.builds)
	}
}

func TestRecordTellsTheOutcomeOfEachBuild(t *testing.T) {
	var outcomes []Outcome
	observe := func(_ context.Context, o Outcome) { outcomes = append(outcomes, o) }
	e := &engine{}
	b := Record(e, observe)
	_, _ = b.Build(t.Context(), recipe("v1.0.0"), nil, io.Discard)
	e.err = errBroken
	_, _ = b.Build(t.Context(), recipe("v1.1.0"), &k6x.Lock{}, io.Discard)
	func() {
		defer func() { _ = recover() }()
		_, _ = Record(nil, observe).Build(t.Context(), recipe("v1.2.0"), nil, io.Discard)
	}()
	if len(outcomes) != 3 {
		t.Fatalf("%d outcomes", len(outcomes))
	}
	if o := outcomes[0]; o.Err != nil || o.Rebuild || o.Recipe.K6.Version != "v1.0.0" {
		t.Errorf("success: %+v", o)
	}
	if o := outcomes[1]; o.Err != errBroken || !o.Rebuild {
		t.Errorf("failure: %+v", o)
	}
	if o := outcomes[2]; o.Err == nil {
		t.Errorf("panic: %+v", o)
	}
}
