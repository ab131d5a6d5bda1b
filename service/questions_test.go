package service_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/blob/mem"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/cache/tier"
	"k6x/event"
	"k6x/service"
)

// bytesEngine makes a binary of nothing.
type bytesEngine struct{}

func (bytesEngine) Build(_ context.Context, job builder.Job, _ event.Sink, w io.Writer) (k6x.Build, error) {
	_, err := fmt.Fprintf(w, "the binary of %s", job.Recipe.Key())
	return k6x.Build{}, err
}

// onBucket returns the URL of a service like that of k6x on a bucket, with a local directory and leases.
func onBucket(t *testing.T, b blob.Bucket) string {
	t.Helper()
	remote := bucket.New(b, bucket.Config{})
	local, err := dir.Open(dir.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { local.Close() })
	store := tier.New(local, remote, nil)
	server, _ := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		limit := builder.NewLimit(builder.Keep(bytesEngine{}, store, nil), builder.LimitConfig{Leases: bucket.NewLeases(remote, bucket.LeaseConfig{})})
		return builder.NewDedup(limit, builder.DedupConfig{})
	}})
	return server.URL
}

func TestAMissOnABucketAsksSixSmallQuestions(t *testing.T) {
	count := blobtest.NewFaults(new(mem.Bucket))
	url := onBucket(t, count)
	want := func(what string, status, most int, resp int) []string {
		t.Helper()
		var asked []string
		for _, c := range count.Calls() {
			if c.Method != "put" || !strings.HasPrefix(c.Name, "artifacts/") || strings.HasSuffix(c.Name, ".json") { // else it is the upload of a binary
				asked = append(asked, c.Method+" "+c.Name)
			}
		}
		if resp != status || len(asked) > most {
			t.Errorf("%s: status %d after %d questions, want %d after at most %d:\n%s", what, resp, len(asked), status, most, strings.Join(asked, "\n"))
		}
		return asked
	}
	resp, _ := do(t, "GET", url+helloPath)
	asked := want("a miss", 200, 6, resp.StatusCode)
	for _, kind := range []string{"put paths/", "put artifacts/", "put leases/", "delete leases/"} {
		if !slices.ContainsFunc(asked, func(s string) bool { return strings.HasPrefix(s, kind) }) {
			t.Errorf("nothing begins with %q:\n%s", kind, strings.Join(asked, "\n"))
		}
	}
	resp, _ = do(t, "GET", url+helloPath)
	want("a hit", 200, 0, resp.StatusCode)
	resp, _ = send(t, "POST", url+"/build", strings.NewReader(`{"k6":"v1.0.0","platform":"linux/amd64"}`))
	want("a miss of the k6build API", 200, 6, resp.StatusCode)

	// Another service brings the bytes here once, and asks for nothing after that.
	other := onBucket(t, count)
	resp, _ = do(t, "GET", other+helloPath)
	want("a hit elsewhere", 200, 6, resp.StatusCode)
	resp, _ = do(t, "GET", other+helloPath)
	want("the next hit elsewhere", 200, 0, resp.StatusCode)
}

// A service that was killed between record and binding leaves an artifact that the next request binds.
func TestARecordWithoutItsBindingIsBoundByTheNextRequest(t *testing.T) {
	b := new(mem.Bucket)
	first, _ := do(t, "GET", onBucket(t, b)+helloPath)
	binding := ""
	for info, err := range b.List(t.Context(), "paths/") {
		if err != nil {
			t.Fatal(err)
		}
		binding = info.Name
	}
	if err := b.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	resp, _ := do(t, "GET", onBucket(t, b)+helloPath)
	if resp.StatusCode != 200 || resp.Header.Get("Etag") != first.Header.Get("Etag") {
		t.Errorf("%s, %s, want the binary that is there, %s", resp.Status, resp.Header.Get("Etag"), first.Header.Get("Etag"))
	}
	if _, err := b.Stat(t.Context(), binding); err != nil {
		t.Errorf("the binding: %v", err)
	}
}
