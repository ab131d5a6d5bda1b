package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/blob/dial"
	"k6x/cache/blob/mem"
	"k6x/cache/bucket"
	"k6x/cache/journal"
	"k6x/event"
)

const aBuild = "7b1d9a1e-0000-4000-8000-000000000001"

// power is a bucket that a service has no more once it is killed; it counts what is asked of it.
type power struct {
	blob.Bucket
	off          atomic.Bool
	opens, lists atomic.Int64
}

var errOff = errors.New("this service is dead")

func (p *power) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	if p.off.Load() {
		return nil, blob.Info{}, errOff
	}
	if strings.HasPrefix(name, "running/") {
		p.opens.Add(1)
	}
	return p.Bucket.Open(ctx, name, offset)
}

func (p *power) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	if p.off.Load() {
		return blob.Info{}, errOff
	}
	return p.Bucket.Put(ctx, name, body, size, o)
}

func (p *power) Delete(ctx context.Context, name string) error {
	if p.off.Load() {
		return errOff
	}
	return p.Bucket.Delete(ctx, name)
}

func (p *power) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	if p.off.Load() {
		return func(yield func(blob.Info, error) bool) { yield(blob.Info{}, errOff) }
	}
	p.lists.Add(1)
	return p.Bucket.List(ctx, prefix)
}

// replica is what shows builds of one service.
type replica struct {
	bucket   *power
	history  *History
	recorder *Recorder
	events   *event.Stream
	logs     *cache.Logs
	live     *Live
	stop     func()
}

func (r *replica) publish(e event.Event) {
	r.events.Publish(e)
	r.recorder.Publish(e)
}

// begin publishes the first events of a build.
func (r *replica) begin(id string) {
	for _, e := range []event.Event{{Type: event.Resolved}, {Type: event.Started}, {Type: event.StepBegun, Step: event.Compiling}} {
		r.say(id, e)
	}
}

func (r *replica) say(id string, e event.Event) {
	e.Job, e.Path, e.Client, e.Time = id, redis, "192.0.2.1", time.Now().UTC()
	r.publish(e)
}

// newReplica starts a service, with what an earlier one on its machine left in pending.
func newReplica(t *testing.T, shared, pending blob.Bucket, every time.Duration) *replica {
	t.Helper()
	r := &replica{bucket: &power{Bucket: shared}, events: new(event.Stream)}
	log := slog.New(slog.DiscardHandler)
	r.history = New(journal.New(journal.Config{Bucket: r.bucket, Prefix: "news/", Poll: every}), 100, log)
	r.recorder = NewRecorder(r.history, pending, "me", log)
	var err error
	if r.logs, err = cache.OpenLogs(t.TempDir(), 10, 1<<20); err != nil {
		t.Fatal(err)
	}
	r.logs.Share(blob.Prefixed(r.bucket, "logs/"))
	r.live = NewLive(LiveConfig{
		Bucket: r.bucket, Leases: bucket.NewLeases(bucket.New(r.bucket, bucket.Config{}), bucket.LeaseConfig{TTL: 15 * every, Poll: every}),
		Recorder: r.recorder, Events: r.events, Logs: r.logs, Every: every, Logger: log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 3)
	for _, run := range []func(context.Context){r.history.Run, r.recorder.Run, r.live.Run} {
		go func() { run(ctx); ended <- struct{}{} }()
	}
	r.stop = func() {
		cancel()
		for range cap(ended) {
			<-ended
		}
	}
	return r
}

// kill ends a service as a kill does.
func (r *replica) kill() {
	r.bucket.off.Store(true)
	r.stop()
	if r.live.release != nil { // the lease stays, as nothing reaches the bucket
		r.live.release(nil)
	}
}

// end ends a service as a signal does.
func (r *replica) end(t *testing.T) {
	r.stop()
	r.live.Close(t.Context())
}

// known waits until a build of another service is known.
func (r *replica) known(t *testing.T, id string) *Result {
	t.Helper()
	for range 20 { // a slow machine
		if result := r.live.Result(t.Context(), id); result != nil {
			return result
		}
	}
	t.Fatal("it is not known")
	return nil
}

// told collects the events of a build as a client follows them at another service.
func (r *replica) told(id string, after int) <-chan event.Numbered {
	all := make(chan event.Numbered, 1000)
	go func() {
		defer close(all)
		for number, e := range r.live.Subscribe(context.Background(), id, after) {
			all <- event.Numbered{Number: number, Event: e}
		}
	}()
	return all
}

func left(t *testing.T, b blob.Bucket) (names []string) {
	t.Helper()
	for _, prefix := range []string{"running/", "leases/"} {
		for info, err := range b.List(context.Background(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, info.Name)
		}
	}
	return names
}

// onBuckets runs a test on a bucket in memory, with a clock of its own, and on one of a real server.
func onBuckets(t *testing.T, test func(t *testing.T, b blob.Bucket, every time.Duration)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, &mem.Bucket{}, time.Second) })
	})
	t.Run("versitygw", func(t *testing.T) {
		endpoint := url.QueryEscape("http://" + blobtest.Versity(t))
		t.Setenv("AWS_ACCESS_KEY_ID", blobtest.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", blobtest.SecretKey)
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		u, err := url.Parse("s3://" + blobtest.BucketName + "?region=us-east-1&s3ForcePathStyle=true&endpoint=" + endpoint)
		if err != nil {
			t.Fatal(err)
		}
		b, err := dial.Open(t.Context(), u, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		test(t, b, 100*time.Millisecond)
	})
}

func TestABuildIsFollowedAtAnotherService(t *testing.T) {
	onBuckets(t, func(t *testing.T, b blob.Bucket, every time.Duration) {
		here, there := newReplica(t, b, &mem.Bucket{}, every), newReplica(t, b, &mem.Bucket{}, every)
		here.begin(aBuild)
		// 1. It is known at the other service, and all clients there cost one look at a time.
		result := there.known(t, aBuild)
		if result.Path != redis || result.Outcome != Running {
			t.Fatalf("got %+v", result)
		}
		var clients []<-chan event.Numbered
		for range 100 {
			clients = append(clients, there.told(aBuild, 1))
		}
		for _, c := range clients {
			if e := <-c; e.Number != 2 || e.Type != event.Started || e.Client != "" {
				t.Fatalf("got %+v", e)
			}
			<-c
		}
		before := there.bucket.opens.Load()
		time.Sleep(20 * every)
		if looks := there.bucket.opens.Load() - before; looks > 40 { // with those for builds of services that have died
			t.Errorf("%d looks for 100 clients in 20 s", looks)
		}
		if running := there.live.Running(); len(running) != 1 || running[0].ID != aBuild {
			t.Errorf("running: %+v", running)
		}
		// 2. What comes is told as it comes, and under its number.
		here.say(aBuild, event.Event{Type: event.Output, Output: "a line\n"})
		for _, c := range clients {
			if e := <-c; e.Number != 4 || e.Output != "a line\n" {
				t.Errorf("got %+v", e)
			}
		}
		// 3. The end.
		if err := here.logs.Put(LogKey(aBuild), "a line\nanother\n"); err != nil {
			t.Fatal(err)
		}
		here.say(aBuild, event.Event{Type: event.Stored, Digest: "abc"})
		for _, c := range clients {
			if e, ok := <-c; !ok || e.Type != event.Stored || e.Digest != "abc" {
				t.Errorf("got %+v", e)
			}
			if e, more := <-c; more {
				t.Errorf("behind the end: %+v", e)
			}
		}
		if err := there.history.Wait(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		log, _, err := there.logs.Open(t.Context(), LogKey(aBuild))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(log); string(text) != "a line\nanother\n" {
			t.Errorf("the log: %q %v", text, err)
		}
		for n := 0; len(left(t, b)) > 0; n++ {
			if n > 100 {
				t.Fatalf("%q are left", left(t, b))
			}
			time.Sleep(every)
		}
		here.end(t)
		there.end(t)
	})
}

func TestABuildOfAServiceThatDiedIsEnded(t *testing.T) {
	onBuckets(t, func(t *testing.T, b blob.Bucket, every time.Duration) {
		pending := &mem.Bucket{}
		here, there, third := newReplica(t, b, pending, every), newReplica(t, b, &mem.Bucket{}, every), newReplica(t, b, &mem.Bucket{}, every)
		here.begin(aBuild)
		here.say(aBuild, event.Event{Type: event.Output, Output: "a line\n"})
		there.known(t, aBuild)
		client := there.told(aBuild, 0)
		for range 4 {
			<-client
		}
		here.kill()
		last, ok := <-client
		if !ok || last.Type != event.Failed || last.Failure.Message != "the service ended before the build did" {
			t.Errorf("got %+v", last)
		}
		if e, more := <-client; more {
			t.Errorf("behind the end: %+v", e)
		}
		// The next start finds that, and adds nothing.
		again := newReplica(t, b, pending, every)
		time.Sleep(20 * every)
		for _, r := range []*replica{there, third, again} {
			results, _ := r.history.Results(Filter{})
			changes, _, err := r.history.Changes(t.Context(), 0, 100)
			if err != nil || len(results) != 1 || len(changes) != 1 || results[0].Result.Outcome != Aborted || !results[0].Result.Log {
				t.Fatalf("%v: %+v, %d changes", err, results, len(changes))
			}
			log, _, err := r.logs.Open(t.Context(), LogKey(aBuild))
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(log); string(text) != "a line\n" {
				t.Errorf("the log: %q %v", text, err)
			}
			log.Close()
			r.end(t)
		}
		if names := left(t, b); len(names) > 0 || count(t, pending) > 0 {
			t.Errorf("%q are left", names)
		}
	})
}

// What ends soon is not written, and of what takes long there are few blobs, of a bounded length, whatever it says.
func TestWhatIsWrittenOfBuildsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		r := newReplica(t, b, &mem.Bucket{}, time.Second)
		for n := range 5 {
			id := fmt.Sprintf("7b1d9a1e-0000-4000-8000-0000000000%d", n+10)
			r.begin(id)
			time.Sleep(700 * time.Millisecond)
			r.say(id, event.Event{Type: event.Stored})
		}
		if names := left(t, b); len(names) > 0 {
			t.Errorf("%q are written of builds that ended at once", names)
		}
		r.begin(aBuild)
		for range 1000 {
			for range 3 {
				r.say(aBuild, event.Event{Type: event.Output, Output: strings.Repeat("\x01", 20_000)})
			}
			r.say(aBuild, event.Event{Type: event.StepEnded, Step: event.Compiling})
			time.Sleep(time.Second)
		}
		total, blobs := int64(0), 0
		for info, err := range b.List(t.Context(), "running/events/") {
			if err != nil || info.Size > maxChunk {
				t.Fatal(info, err)
			}
			total += info.Size
			blobs++
		}
		if total > maxShown+maxChunk || blobs > 400 || blobs < 2 {
			t.Errorf("%d blobs with %d bytes", blobs, total)
		}
		r.end(t)
		if names := left(t, b); len(names) > 0 {
			t.Errorf("%q are left by a service that ended", names)
		}
	})
}

// What others have put into the bucket ends no build, and stops nothing.
func TestStrangeThingsInTheBucketAreNoBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		r := newReplica(t, b, &mem.Bucket{}, time.Second)
		other := "7b1d9a1e-0000-4000-8000-000000000002"
		for name, text := range map[string]string{
			heads + "x": "{}", heads + "../x": `{"service":"` + strings.Repeat("0", 64) + `","result":{"id":"../x","outcome":"running"}}`,
			heads + other:        strings.Repeat(" ", maxResult+1),
			heads + aBuild:       `{"service":"` + strings.Repeat("0", 64) + `","result":{"id":"` + aBuild + `","path":"` + redis + `","outcome":"running"}}`,
			chunkName(aBuild, 1): "nonsense\n{\"number\":1,\"event\":{\"type\":\"failed\"}}\n{\"number\":-1}\n",
		} {
			if err := blob.PutBytes(t.Context(), b, name, []byte(text), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if r.live.Result(t.Context(), other) != nil || r.live.Result(t.Context(), "../x") != nil {
			t.Error("there is no such build")
		}
		client := r.told(aBuild, 0)
		time.Sleep(time.Minute)
		if results, _ := r.history.Results(Filter{}); len(results) != 1 || results[0].Result.Outcome != Aborted { // its service has no lease
			t.Errorf("got %+v", results)
		}
		if e := <-client; e.Type != event.Failed {
			t.Errorf("got %+v", e)
		}
		r.end(t)
	})
}
