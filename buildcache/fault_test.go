package buildcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/mem"
)

// faulty is a store with something wrong.
type faulty struct {
	Store
	delay  time.Duration             // of each call
	open   func(body []byte) []byte  // what is read instead of a pack
	index  func(body []byte) []byte  // what is read instead of an index
	cut    int                       // bytes after which a pack ends with an error; 0: does not
	fail   func(method string) error // instead of a call
	calls  atomic.Int64
	packs  atomic.Int64 // calls that read one
	writes atomic.Int64
}

func (f *faulty) begin(ctx context.Context, method string) error {
	f.calls.Add(1)
	if f.delay > 0 {
		select {
		case <-time.After(f.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.fail != nil {
		return f.fail(method)
	}
	return nil
}

func (f *faulty) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	if err := f.begin(ctx, "list"); err != nil {
		return func(yield func(blob.Info, error) bool) { yield(blob.Info{}, err) }
	}
	return f.Store.List(ctx, prefix)
}

func (f *faulty) Read(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := f.begin(ctx, "open"); err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, packDir) {
		f.packs.Add(1)
	}
	r, err := f.Store.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	change := f.open
	if strings.HasPrefix(name, indexDir) {
		change = f.index
	}
	if change != nil {
		body = change(body)
	}
	var out io.Reader = bytes.NewReader(body)
	if f.cut > 0 && strings.HasPrefix(name, packDir) {
		out = io.MultiReader(bytes.NewReader(body[:f.cut]), failing{})
	}
	return io.NopCloser(out), err
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func (f *faulty) Write(ctx context.Context, name string, body []byte, needs []packed) error {
	f.writes.Add(1)
	if err := f.begin(ctx, "put"); err != nil {
		return err
	}
	return f.Store.Write(ctx, name, body, needs)
}

// plainStore is a store in memory that may be used in a bubble of synctest.
func plainStore() Store { return bucketStore{new(mem.Bucket)} }

func TestARemoteLevelThatLiesGivesMissesAndIsMended(t *testing.T) {
	a, b := makeSample("a", 5000), makeSample("b", 5000)
	other := makeSample("other", 5000)
	for name, open := range map[string]func([]byte) []byte{
		"garbage":   func(body []byte) []byte { return []byte(strings.Repeat("garbage", 100)) },
		"truncated": func(body []byte) []byte { return body[:len(body)/2] },
		"empty":     func([]byte) []byte { return nil },
		"longer":    func(body []byte) []byte { return append(bytes.Clone(body), compress(t, "more")...) },
		"another": func([]byte) []byte {
			p, err := newPacker()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := p.add(sized{other.output, 5000}, strings.NewReader(other.body)); err != nil {
					t.Fatal(err)
				}
			}
			_, body, err := p.take()
			if err != nil {
				t.Fatal(err)
			}
			return body
		},
	} {
		t.Run(name, func(t *testing.T) {
			remote := &faulty{Store: plainStore()}
			fill(t, remote, "x", a, b)
			remote.open = open
			c := newCache(t, Config{Remote: remote})
			s := start(t, c, "x")
			gotA, gotB := has(t, s, a), has(t, s, b) // which fail if the bytes are wrong
			if gotA && gotB && name != "longer" {
				t.Error("hits of what is not there")
			}
			if n := c.Stats(); n.ReadFailures == 0 && name != "longer" {
				t.Errorf("%+v", n)
			}
			before := remote.writes.Load()
			put(t, s, a, b)
			want(t, s, a, b)
			s.Close()
			finish(c)
			if name == "longer" {
				return // what comes after the end is not read
			}
			remote.open = nil
			if n := remote.writes.Load() - before; n != 2 { // a pack and an index
				t.Errorf("what was lost was not sent again, but %d objects", n)
			}
			want(t, start(t, newCache(t, Config{Remote: remote}), "x"), a, b)
		})
	}
}

func TestIndexesThatLieAreNotBelieved(t *testing.T) {
	a := makeSample("a", 5000)
	for name, change := range map[string]func([]byte) []byte{
		"garbage":   func([]byte) []byte { return []byte("garbage") },
		"truncated": func(body []byte) []byte { return body[:len(body)-1] },
		"empty":     func([]byte) []byte { return nil },
		"another":   func([]byte) []byte { return compress(t, `{"Format":1}`) },
	} {
		t.Run(name, func(t *testing.T) {
			remote := &faulty{Store: plainStore()}
			fill(t, remote, "x", a)
			remote.index = change
			c := newCache(t, Config{Remote: remote})
			s := start(t, c, "x")
			if has(t, s, a) {
				t.Error("a hit")
			}
			put(t, s, a)
			want(t, s, a)
			if n := c.Stats(); n.ReadFailures != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}

func TestAConnectionThatBreaksIsNotTakenForALoss(t *testing.T) {
	remote := &faulty{Store: plainStore()}
	a := makeSample("a", 5000)
	fill(t, remote, "x", a)
	remote.cut = 3
	c := newCache(t, Config{Remote: remote})
	s := start(t, c, "x")
	if has(t, s, a) {
		t.Error("a hit")
	}
	_, at, _ := s.scope.find(a.action)
	s.scope.mu.Lock()
	defer s.scope.mu.Unlock()
	if at.pack.lost || at.pack.notBefore.IsZero() {
		t.Errorf("%+v", at.pack)
	}
}

func TestARemoteLevelThatIsDownIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &faulty{Store: plainStore(), fail: func(string) error { return errors.New("connection refused") }}
		c := newCache(t, Config{Remote: remote})
		for i := range 100 {
			s := start(t, c, "x")
			x := makeSample(fmt.Sprint(i), 10)
			if has(t, s, x) {
				t.Error("a hit")
			}
			put(t, s, x)
			want(t, s, x)
			s.Close()
			<-s.sent
		}
		if calls := remote.calls.Load(); calls > 2*maxFailures {
			t.Errorf("asked %d times", calls)
		}
		if n := c.Stats(); !n.ReadsPaused || !n.WritesPaused || n.Dropped == 0 {
			t.Errorf("%+v", n)
		}
		time.Sleep(c.cfg.Pause + time.Second)
		remote.fail = nil
		s, x := start(t, c, "x"), makeSample("late", 10)
		put(t, s, x)
		s.Close()
		<-s.sent
		synctest.Wait() // the indexes are read beside that
		if n := c.Stats(); n.ReadsPaused || n.WritesPaused || len(names(t, remote, indexDir)) != 1 {
			t.Errorf("%+v", n)
		}
	})
}

func TestASlowRemoteLevelCostsABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &faulty{Store: plainStore()}
		var samples []sample
		for i := range 20 { // each in a pack of its own
			x := makeSample(fmt.Sprint(i), 100)
			samples = append(samples, x)
			fill(t, remote, fmt.Sprint(i), x)
			time.Sleep(time.Second)
		}
		remote.delay = 5 * time.Second
		c := newCache(t, Config{Remote: remote, Wait: 2 * time.Second})
		s := start(t, c, "19")
		began := time.Now()
		for _, x := range samples {
			if !has(t, s, x) {
				put(t, s, x)
			}
			want(t, s, x)
		}
		if waited := time.Since(began); waited > 10*time.Second {
			t.Errorf("waited for %v", waited)
		}
		time.Sleep(time.Minute) // what comes late is of use to the next
		if !c.local.complete(packed{Outputs: []sized{{samples[19].output, 100}}}) {
			t.Error("what was to be fetched ahead was not")
		}
		ended := time.Now()
		s.Close()
		if time.Since(ended) != 0 {
			t.Error("closing the session waited")
		}
		finish(c)
	})
}

func TestASlowRemoteLevelDoesNotHoldUpPutsNorKeepTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &faulty{Store: plainStore(), delay: time.Hour}
		c := newCache(t, Config{Remote: remote})
		s := start(t, c, "x")
		began := time.Now()
		for i := range maxQueue + 100 {
			s.send(bound{makeSample(fmt.Sprint(i), 10).action, ID{}})
		}
		put(t, s, makeSample("a", 10))
		if time.Since(began) != 0 {
			t.Errorf("putting took %v", time.Since(began))
		}
		if c.Stats().Dropped < 100 {
			t.Errorf("%+v", c.Stats())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		c.Close(ctx)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("closing took %v", took)
		}
	})
}

func TestAFullDiskMakesMissesAndIsNoFaultOfTheRemoteLevel(t *testing.T) {
	remote := openStore(t, "mem://")
	a := makeSample("a", 5000)
	fill(t, remote, "x", a)
	c := newCache(t, Config{Remote: remote, Pause: time.Nanosecond})
	var full atomic.Bool
	full.Store(true)
	c.local.disk.Fault = func(step, _ string) error {
		if full.Load() && step == "write" {
			return errors.New("no space left on device")
		}
		return nil
	}
	s := start(t, c, "x")
	if has(t, s, a) {
		t.Error("a hit")
	}
	if _, err := s.Put(t.Context(), a.action, a.output, 5000, strings.NewReader(a.body)); err == nil {
		t.Error("a put without room")
	}
	if n := c.Stats(); n.ReadFailures != 0 || n.ReadsPaused {
		t.Errorf("%+v", n)
	}
	full.Store(false)
	want(t, s, a)
}

func TestWritersThatAreRefusedStillRead(t *testing.T) {
	remote := &faulty{Store: plainStore()}
	a := makeSample("a", 5000)
	fill(t, remote, "x", a)
	remote.fail = func(method string) error {
		if method == "put" {
			return errors.New("access denied")
		}
		return nil
	}
	c := newCache(t, Config{Remote: remote})
	for i := range 10 {
		s := start(t, c, fmt.Sprint(i))
		want(t, s, a)
		put(t, s, makeSample(fmt.Sprint(i), 10))
		s.Close()
		<-s.sent
	}
	if n := c.Stats(); n.ReadsPaused || !n.WritesPaused || n.RemoteHits == 0 {
		t.Errorf("%+v", n)
	}
}

func TestServersThatRefuseCostOnlyTheWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, url := range []string{"oci://" + addr + "/k6x/go", "s3://bucket?region=us-east-1&s3ForcePathStyle=true&endpoint=http://" + addr} {
		c := newCache(t, Config{Remote: openStore(t, url), Timeout: 5 * time.Second})
		s := start(t, c, "x")
		x := makeSample("x", 10)
		if has(t, s, x) {
			t.Error("a hit")
		}
		put(t, s, x)
		want(t, s, x)
		s.Close()
		finish(c)
		if n := c.Stats(); n.ReadFailures == 0 || n.WriteFailures == 0 {
			t.Errorf("%s: %+v", url, n)
		}
	}
}

func TestABreakerOpensAfterFailuresInARow(t *testing.T) {
	now := time.Unix(0, 0)
	b := &breaker{pause: time.Minute, now: func() time.Time { return now }}
	bad := errors.New("bad")
	for i := range maxFailures {
		if !b.allow() {
			t.Fatalf("closed after %d failures", i)
		}
		if i == 1 {
			b.note(bad)
			b.note(nil) // begins anew
			for range i {
				b.note(bad)
			}
		}
		if opened := b.note(bad); opened != (i == maxFailures-1) {
			t.Fatalf("opened: %v after %d", opened, i)
		}
	}
	if b.allow() || !b.open() {
		t.Error("it is not open")
	}
	now = now.Add(time.Minute)
	if !b.allow() || b.allow() {
		t.Error("not one of two was let through")
	}
	b.note(nil)
	if !b.allow() || b.open() {
		t.Error("it does not close")
	}
}
