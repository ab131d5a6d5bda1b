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

	"k6x"
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
	off      atomic.Bool
	readOnly atomic.Bool            // as a network is that lets small answers through
	refused  atomic.Pointer[string] // what begins with it cannot be written
	cut      atomic.Bool            // listings end too early
	plain    atomic.Bool            // listings tell no versions
	opens    atomic.Int64           // of what is shown of builds
}

var errOff = errors.New("this service is dead")

func (p *power) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	if strings.HasPrefix(name, shownPrefix) {
		p.opens.Add(1)
	}
	if p.off.Load() {
		time.Sleep(time.Millisecond) // so that time goes on while something asks again and again
		return nil, blob.Info{}, errOff
	}
	return p.Bucket.Open(ctx, name, offset)
}

func (p *power) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	if refused := p.refused.Load(); p.off.Load() || p.readOnly.Load() || refused != nil && strings.HasPrefix(name, *refused) {
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
	return func(yield func(blob.Info, error) bool) {
		for info, err := range p.Bucket.List(ctx, prefix) {
			if p.plain.Load() {
				info.ETag, info.State = "", blob.State{}
			}
			if !yield(info, err) {
				return
			}
		}
		if p.cut.Load() && prefix == heads {
			yield(blob.Info{}, errOff)
		}
	}
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
	return startReplica(t, shared, pending, every, 15*every)
}

// startReplica is newReplica with a time to live of its lease.
func startReplica(t *testing.T, shared, pending blob.Bucket, every, ttl time.Duration) *replica {
	t.Helper()
	r := &replica{bucket: &power{Bucket: shared}, events: new(event.Stream)}
	log := slog.New(slog.DiscardHandler)
	r.history = New(journal.New(journal.Config{Bucket: r.bucket, Prefix: "news/", Poll: every}), 100, log)
	var err error
	if r.logs, err = cache.OpenLogs(t.TempDir(), 10, 1<<20); err != nil {
		t.Fatal(err)
	}
	r.logs.Share(blob.Prefixed(r.bucket, "logs/"))
	r.recorder = NewRecorder(r.history, pending, r.logs, "me", log)
	r.live = NewLive(LiveConfig{
		Bucket: r.bucket, Leases: bucket.NewLeases(bucket.New(r.bucket, bucket.Config{}), bucket.LeaseConfig{TTL: ttl, Poll: every}),
		Recorder: r.recorder, Events: r.events, Every: every, Logger: log,
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
	if r.live.own.release != nil { // the lease stays, as nothing reaches the bucket
		r.live.own.release(nil)
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
		if result, err := r.live.Result(t.Context(), id, true); result != nil || err != nil {
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
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		for number, e := range r.live.Subscribe(ctx, id, after) {
			all <- event.Numbered{Number: number, Event: e}
		}
	}()
	return all
}

// log returns the log of a build as this service has it.
func (r *replica) log(t *testing.T, id string) string {
	t.Helper()
	log, _, err := r.logs.Open(t.Context(), LogKey(id))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer log.Close()
	text, err := io.ReadAll(log)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// until waits for a condition, on a real server for a minute at most.
func until(t *testing.T, every time.Duration, what string, done func() bool) {
	t.Helper()
	for n := 0; !done(); n++ {
		if n == 600 {
			t.Fatalf("it does not come to it: %s", what)
		}
		time.Sleep(every)
	}
}

func left(t *testing.T, b blob.Bucket) (names []string) {
	t.Helper()
	for _, prefix := range []string{shownPrefix, "leases/"} {
		for info, err := range b.List(context.Background(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(info.Name, services) {
				names = append(names, info.Name)
			}
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
		here, there := startReplica(t, b, &mem.Bucket{}, every, time.Minute), startReplica(t, b, &mem.Bucket{}, every, time.Minute)
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
		if _, ok := b.(*mem.Bucket); ok { // time costs nothing
			before := there.bucket.opens.Load()
			time.Sleep(20 * every)
			if looks := there.bucket.opens.Load() - before; looks > 40 { // with those for builds of services that have died
				t.Errorf("%d looks for 100 clients in 20 s", looks)
			}
		}
		until(t, every, "the build is listed", func() bool {
			running := there.live.Running()
			return len(running) == 1 && running[0].ID == aBuild
		})
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
		if text := there.log(t, aBuild); text != "a line\nanother\n" {
			t.Errorf("the log: %q", text)
		}
		until(t, every, "nothing is left", func() bool { return len(left(t, b)) == 0 })
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
		until(t, every, "what it left is dealt with", func() bool { return count(t, pending) == 0 })
		for _, r := range []*replica{there, third, again} {
			until(t, every, "the result is known", func() bool { return r.history.Result(aBuild) != nil })
			results, _ := r.history.Results(Filter{})
			changes, _, err := r.history.Changes(t.Context(), 0, 100)
			if err != nil || len(results) != 1 || len(changes) != 1 || results[0].Result.Outcome != Aborted || !results[0].Result.Log {
				t.Fatalf("%v: %+v, %d changes", err, results, len(changes))
			}
			if text := r.log(t, aBuild); text != "a line\n" {
				t.Errorf("the log: %q", text)
			}
		}
		until(t, every, "nothing is left", func() bool { return len(left(t, b)) == 0 })
		for _, r := range []*replica{there, third, again} {
			r.end(t)
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
		for info, err := range b.List(t.Context(), chunks) {
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
			heads + "x": "{}", heads + "../x": `{"lease":"` + strings.Repeat("0", 64) + `","result":{"id":"../x","outcome":"running"}}`,
			heads + other:        strings.Repeat(" ", maxHead+1),
			heads + aBuild:       `{"lease":"` + strings.Repeat("0", 64) + `","started":true,"result":{"id":"` + aBuild + `","path":"` + redis + `","outcome":"running"}}`,
			chunkName(aBuild, 1): "nonsense\n{\"number\":1,\"event\":{\"type\":\"failed\"}}\n{\"number\":-1}\n",
		} {
			if err := blob.PutBytes(t.Context(), b, name, []byte(text), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{other, "../x"} {
			if result, err := r.live.Result(t.Context(), id, true); result != nil || err != nil {
				t.Errorf("%s: there is no such build: %+v, %v", id, result, err)
			}
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

// blocked is a bucket of which one blob cannot be read for ever.
type blocked struct {
	blob.Bucket
	name string
}

func (b *blocked) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	if name == b.name {
		<-ctx.Done()
		return nil, blob.Info{}, ctx.Err()
	}
	return b.Bucket.Open(ctx, name, offset)
}

// A build is read for as long as a client follows it, and what cannot be read is asked for once a second.
func TestReadingEndsWhenTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		for number := 1; number <= 10; number++ {
			text := fmt.Sprintf(`{"number":%d,"event":{"type":"started"}}`, number)
			if err := blob.PutBytes(t.Context(), b, chunkName(aBuild, number), []byte(text), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		slow := &blocked{Bucket: b, name: chunkName(aBuild, 3)}
		r := newReplica(t, slow, &mem.Bucket{}, time.Second)
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan int)
		go func() {
			last := 0
			for last = range r.live.Subscribe(ctx, aBuild, 0) {
			}
			done <- last
		}()
		synctest.Wait()
		leave()
		if last := <-done; last != 2 {
			t.Errorf("%d events were told", last)
		}
		synctest.Wait() // which does not come while something spins
		ctx, leave = context.WithCancel(t.Context())
		r.bucket.off.Store(true)
		before := r.bucket.opens.Load()
		go func() {
			for range r.live.Subscribe(ctx, aBuild, 0) {
			}
			done <- 0
		}()
		time.Sleep(20 * time.Second)
		if looks := r.bucket.opens.Load() - before; looks > 25 {
			t.Errorf("%d looks in 20 s", looks)
		}
		leave()
		<-done
		r.bucket.off.Store(false)
		r.end(t)
	})
}

// A service that lives, but could not tell so for a while, has the last word on its builds, and shows them again until then.
func TestTheResultOfAServiceThatLivesReplacesAGuess(t *testing.T) {
	for _, news := range []bool{false, true} { // of the build, before it is seen that it is not shown any more
		synctest.Test(t, func(t *testing.T) {
			b, pending := &mem.Bucket{}, &mem.Bucket{}
			here, there := newReplica(t, b, pending, time.Second), newReplica(t, b, &mem.Bucket{}, time.Second)
			tells := func(client <-chan event.Numbered, want ...event.Type) {
				t.Helper()
				for number, kind := range want {
					if e := <-client; e.Number != number+1 || e.Type != kind {
						t.Errorf("news %v: got %+v, want %d: %s", news, e, number+1, kind)
					}
				}
			}
			begun := []event.Type{event.Resolved, event.Started, event.StepBegun, event.Output}
			here.begin(aBuild)
			here.say(aBuild, event.Event{Type: event.Output, Output: "a line\n"})
			there.known(t, aBuild)
			client := there.told(aBuild, 0)
			time.Sleep(3 * time.Second) // all that was said is in the bucket
			here.bucket.readOnly.Store(true)
			time.Sleep(45 * time.Second)
			tells(client, append(begun, event.Failed)...)
			if r := there.history.Result(aBuild); r == nil || r.Outcome != Aborted || !r.Guessed {
				t.Fatalf("the others took it for %+v", r)
			}
			if text := there.log(t, aBuild); text != "a line\n" {
				t.Errorf("the log so far: %q", text)
			}
			if running := here.recorder.Running(); len(running) != 1 || here.recorder.Result(aBuild).Outcome != Running {
				t.Errorf("where it runs there is %+v", running)
			}
			here.bucket.readOnly.Store(false)
			if news {
				here.say(aBuild, event.Event{Type: event.StepEnded, Step: event.Compiling})
				begun = append(begun, event.StepEnded)
			}
			time.Sleep(30 * time.Second) // the lease is renewed, and all is there again
			if running := there.live.Running(); len(running) != 1 || news && len(running[0].Steps) != 1 {
				t.Errorf("news %v: the others are shown %+v", news, running)
			}
			if r, err := there.live.Result(t.Context(), aBuild, false); err != nil || r == nil || r.Outcome != Running {
				t.Errorf("news %v: the others know %+v, %v", news, r, err)
			}
			client = there.told(aBuild, 0)
			tells(client, begun...)
			time.Sleep(20 * time.Second) // a client that follows it is told of no end meanwhile
			if err := here.logs.Put(LogKey(aBuild), "a line\nanother\n"); err != nil {
				t.Fatal(err)
			}
			here.say(aBuild, event.Event{Type: event.Stored, Digest: "abc"})
			if e := <-client; e.Number != len(begun)+1 || e.Type != event.Stored {
				t.Errorf("news %v: the end is %+v", news, e)
			}
			time.Sleep(30 * time.Second)
			late := newReplica(t, b, &mem.Bucket{}, time.Second)
			synctest.Wait()
			for _, r := range []*replica{here, there, late} {
				results, _ := r.history.Results(Filter{})
				changes, _, err := r.history.Changes(t.Context(), 0, 100)
				if err != nil || len(changes) != 2 || len(results) != 1 || results[0].Result.Outcome != Built || r.history.PathOf("abc") != redis {
					t.Errorf("%v: %+v of %d changes", err, results, len(changes))
				}
				if text := r.log(t, aBuild); text != "a line\nanother\n" {
					t.Errorf("the log: %q", text)
				}
				r.end(t)
			}
			if names := left(t, b); len(names) > 0 || count(t, pending) > 0 {
				t.Errorf("%q are left", names)
			}
		})
	}
}

// A client that follows a build misses nothing when all is written anew, perhaps in fewer blobs.
func TestWhatIsWrittenAnewIsReadAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		r := newReplica(t, b, &mem.Bucket{}, time.Second)
		put := func(name, text string) {
			if err := blob.PutBytes(t.Context(), b, name, []byte(text), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		write := func(round int, events ...string) {
			put(heads+aBuild, fmt.Sprintf(`{"lease":"%064d","round":%d,"result":{"id":"%s","outcome":"running"}}`, 0, round, aBuild))
			for n, text := range events {
				put(chunkName(aBuild, n+1), text)
			}
		}
		const first, second = `{"number":1,"event":{"type":"resolved"}}` + "\n", `{"number":2,"event":{"type":"started"}}` + "\n"
		write(0, first, second)
		client := r.told(aBuild, 0)
		time.Sleep(6 * time.Second)
		write(1, first+second+`{"number":3,"event":{"type":"finished"}}`, `{"number":4,"event":{"type":"stored"}}`)
		for want := range 4 {
			if e := <-client; e.Number != want+1 {
				t.Errorf("got %d, want %d", e.Number, want+1)
			}
		}
		r.end(t)
	})
}

// A client that cannot be told the end, as the bucket is away from its service, is told it afterwards.
func TestAnEndDuringAnOutage(t *testing.T) {
	for n := range 20 { // the bucket comes back at any moment between two looks at the history
		synctest.Test(t, func(t *testing.T) {
			b := &mem.Bucket{}
			here, there := newReplica(t, b, &mem.Bucket{}, time.Second), newReplica(t, b, &mem.Bucket{}, time.Second)
			here.begin(aBuild)
			there.known(t, aBuild)
			client := there.told(aBuild, 0)
			for range 3 {
				<-client
			}
			there.bucket.off.Store(true)
			here.say(aBuild, event.Event{Type: event.Stored, Digest: "abc"})
			time.Sleep(time.Minute + time.Duration(n)*500*time.Millisecond)
			if names := left(t, b); len(names) > 0 {
				t.Errorf("%q are left", names)
			}
			there.bucket.off.Store(false)
			if e := <-client; e.Type != event.Stored || e.Digest != "abc" {
				t.Errorf("the end is %+v", e)
			}
			here.end(t)
			there.end(t)
		})
	}
}

// A build that has ended is shown until its result is in the history, for five minutes at most.
func TestABuildIsShownUntilItsResultIsKnown(t *testing.T) {
	for _, outage := range []time.Duration{time.Minute, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			b, news := &mem.Bucket{}, "news/"
			here, there := newReplica(t, b, &mem.Bucket{}, time.Second), newReplica(t, b, &mem.Bucket{}, time.Second)
			here.begin(aBuild)
			there.known(t, aBuild)
			here.bucket.refused.Store(&news)
			here.say(aBuild, event.Event{Type: event.Stored, Digest: "abc"})
			time.Sleep(outage)
			if r, err := there.live.Result(t.Context(), aBuild, false); err != nil || (r != nil) != (outage < 5*time.Minute) {
				t.Errorf("%s: the others know %+v, %v", outage, r, err)
			}
			here.bucket.refused.Store(nil)
			time.Sleep(time.Minute)
			if r, err := there.live.Result(t.Context(), aBuild, false); err != nil || r == nil || r.Outcome != Built {
				t.Errorf("%s: the others know %+v, %v", outage, r, err)
			}
			if names := left(t, b); len(names) > 0 {
				t.Errorf("%s: %q are left", outage, names)
			}
			here.end(t)
			there.end(t)
		})
	}
}

// One build that cannot be written keeps none of the others from being shown, and of one whose head is too long nothing is.
func TestOneBuildKeepsNoOtherFromBeingShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		r := newReplica(t, b, &mem.Bucket{}, time.Second)
		ids := make([]string, 10)
		for n := range ids {
			ids[n] = fmt.Sprintf("7b1d9a1e-0000-4000-8000-00000000000%d", n)
			r.begin(ids[n])
		}
		refused := heads + ids[0]
		r.bucket.refused.Store(&refused)
		long := "7b1d9a1e-0000-4000-8000-000000000010"
		r.publish(event.Event{Job: long, Type: event.Resolved, Path: strings.Repeat("x", maxHead), Time: time.Now()})
		time.Sleep(5 * time.Second)
		for _, id := range append(ids, long) {
			_, headErr := b.Stat(t.Context(), heads+id)
			_, chunkErr := b.Stat(t.Context(), chunkName(id, 1))
			if there := id != ids[0] && id != long; (headErr == nil) != there || (chunkErr == nil) != there {
				t.Errorf("%s: %v, %v", id, headErr, chunkErr)
			}
		}
		r.bucket.refused.Store(nil)
		r.end(t)
	})
}

// What only waited for its turn leaves no result, as after a restart; what is left of it goes, though a listing does not get
// to its end, nor tells versions.
func TestABuildThatWaitedAtAServiceThatDiedLeavesNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		here, there := newReplica(t, b, &mem.Bucket{}, time.Second), newReplica(t, b, &mem.Bucket{}, time.Second)
		here.say(aBuild, event.Event{Type: event.Resolved})
		there.known(t, aBuild)
		client := there.told(aBuild, 1)
		here.kill()
		there.bucket.cut.Store(true)
		there.bucket.plain.Store(true)
		if e := <-client; e.Type != event.Failed {
			t.Errorf("got %+v", e)
		}
		time.Sleep(time.Minute)
		results, _ := there.history.Results(Filter{})
		if names := left(t, b); len(results) > 0 || len(names) > 0 {
			t.Errorf("got %+v; %q are left", results, names)
		}
		there.end(t)
	})
}

// An id that is not known costs one look, or a few seconds where that is wanted and few others wait; a bucket that does not answer is no answer.
func TestBuildsThatAreNotKnownCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, &mem.Bucket{}, &mem.Bucket{}, time.Second)
		synctest.Wait()
		begun, before := time.Now(), r.bucket.opens.Load()
		if result, err := r.live.Result(t.Context(), aBuild, false); result != nil || err != nil || time.Since(begun) > 0 {
			t.Errorf("got %+v, %v after %s", result, err, time.Since(begun))
		}
		if looks := r.bucket.opens.Load() - before; looks != 1 {
			t.Errorf("%d looks", looks)
		}
		done := make(chan time.Duration)
		for range 10 * maxWaiting {
			go func() {
				_, _ = r.live.Result(t.Context(), aBuild, true)
				done <- time.Since(begun)
			}()
		}
		waited := 0
		for range 10 * maxWaiting {
			if took := <-done; took > 0 {
				waited++
				if took > 2*time.Second {
					t.Errorf("%s behind the last look", took)
				}
			}
		}
		if waited != maxWaiting {
			t.Errorf("%d clients waited", waited)
		}
		r.bucket.off.Store(true)
		if _, err := r.live.Result(t.Context(), aBuild, true); k6x.KindOf(err) != k6x.Unavailable {
			t.Errorf("got %v", err)
		}
		if _, _, err := r.logs.Open(t.Context(), LogKey(aBuild)); k6x.KindOf(err) != k6x.Unavailable {
			t.Errorf("the log: %v", err)
		}
		r.bucket.off.Store(false)
		r.end(t)
	})
}

// A listing reads the heads that are new, and none of its own service; a head tells the steps so far.
func TestListingsReadWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		here, there := newReplica(t, b, &mem.Bucket{}, time.Second), newReplica(t, b, &mem.Bucket{}, time.Second)
		for n := range 20 {
			here.begin(fmt.Sprintf("7b1d9a1e-0000-4000-8000-0000000000%d", n+10))
		}
		time.Sleep(5 * time.Minute)
		if looks := there.bucket.opens.Load(); looks != 20 || here.bucket.opens.Load() > 0 {
			t.Errorf("%d looks for 20 builds, %d for its own", looks, here.bucket.opens.Load())
		}
		here.say("7b1d9a1e-0000-4000-8000-000000000010", event.Event{Type: event.StepEnded, Step: event.Compiling})
		time.Sleep(time.Minute)
		if looks := there.bucket.opens.Load(); looks != 21 {
			t.Errorf("%d looks once there is news of one", looks)
		}
		steps := 0
		for _, r := range there.live.Running() {
			steps += len(r.Steps)
		}
		if steps != 1 {
			t.Errorf("%d steps", steps)
		}
		here.end(t)
		there.end(t)
	})
}

// What has no build goes after a day.
func TestOrphansAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		here, there := newReplica(t, b, &mem.Bucket{}, time.Minute), newReplica(t, b, &mem.Bucket{}, time.Minute)
		other := "7b1d9a1e-0000-4000-8000-000000000002"
		for _, name := range []string{heads + other, heads + "x", chunkName(other, 7), "running/x"} {
			if err := blob.PutBytes(t.Context(), b, name, []byte("x"), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		here.begin(aBuild)
		time.Sleep(23 * time.Hour)
		if names := left(t, b); len(names) != 7 { // with the head, events and the lease of the build
			t.Errorf("there are %q", names)
		}
		time.Sleep(3 * time.Hour)
		if names := left(t, b); len(names) != 3 {
			t.Errorf("there are %q", names)
		}
		here.end(t)
		there.end(t)
	})
}

// However much there is of a build, ending it is bounded, and its result is one that the history takes.
func TestEndingABuildIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		r := newReplica(t, b, &mem.Bucket{}, time.Second)
		put := func(name, text string) {
			if err := blob.PutBytes(t.Context(), b, name, []byte(text), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		step := `{"number":1,"event":{"type":"step_ended","step":"compiling","digest":"` + strings.Repeat("x", 1000) + `"}}` + "\n"
		for number := range 40 {
			put(chunkName(aBuild, number+1), strings.Repeat(step, 900))
		}
		put(chunkName(aBuild, 2), strings.Repeat(" ", maxChunk+1))
		put(heads+aBuild, `{"lease":"`+strings.Repeat("0", 64)+`","started":true,"result":{"id":"`+aBuild+`","path":"`+redis+`","key":"../x","outcome":"running","log":true}}`)
		time.Sleep(time.Minute)
		if results, _ := r.history.Results(Filter{}); len(results) != 1 || results[0].Result.Outcome != Aborted || r.bucket.opens.Load() > 25 {
			t.Errorf("%d blobs were read, and there is %+v", r.bucket.opens.Load(), results)
		}
		if names := left(t, b); len(names) > 0 {
			t.Errorf("%d are left", len(names))
		}
		r.end(t)
	})
}

// The last log of a recipe is that of a build which failed here.
func TestLogsThatAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, key := &mem.Bucket{}, strings.Repeat("a", 64)
		r := newReplica(t, b, &mem.Bucket{}, time.Second)
		for n, last := range []event.Event{{Type: event.Stored}, {Type: event.Failed, Failure: broken}} {
			id := fmt.Sprintf("7b1d9a1e-0000-4000-8000-00000000000%d", n)
			for _, key := range []string{LogKey(id), key} {
				if err := r.logs.Put(key, "a line"); err != nil {
					t.Fatal(err)
				}
			}
			for _, e := range []event.Event{{Type: event.Resolved, Key: key}, {Type: event.Started}, {Type: event.Output, Output: "a line"}, last} {
				r.say(id, e)
			}
			synctest.Wait()
			if _, err := b.Stat(t.Context(), "logs/"+LogKey(id)+".log"); err != nil {
				t.Error(err)
			}
			if _, err := b.Stat(t.Context(), "logs/"+key+".log"); (err == nil) != (last.Type == event.Failed) {
				t.Errorf("%s: that of the recipe: %v", last.Type, err)
			}
		}
		r.end(t)
	})
}
