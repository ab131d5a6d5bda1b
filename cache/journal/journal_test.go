package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/dir"
	"k6x/cache/blob/mem"
)

func open(t testing.TB, b blob.Bucket, change ...func(*Config)) *Journal {
	t.Helper()
	cfg := Config{Bucket: b, Prefix: "news/"}
	for _, f := range change {
		f(&cfg)
	}
	j := New(cfg)
	if err := j.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	return j
}

// appendTo appends an entry, and returns its number if no other service appends.
func appendTo(t testing.TB, j *Journal, data any) (int64, error) {
	t.Helper()
	v := NewView(j, func([]Entry) {})
	_, v.read = j.Bounds()
	_, err := v.Append(t.Context(), func() any { return data })
	return v.read, err
}

func add(t testing.TB, j *Journal, n int) {
	t.Helper()
	for range n {
		if _, err := appendTo(t, j, "x"); err != nil {
			t.Fatal(err)
		}
	}
}

// all returns the numbers behind since, read in pages.
func all(t testing.TB, j *Journal, since int64) (entries []Entry) {
	t.Helper()
	for {
		page, err := j.Read(t.Context(), since, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return entries
		}
		entries = append(entries, page...)
		since = page[len(page)-1].Number
	}
}

// check fails unless entries are numbered from first without a gap, and none is there twice.
func check(t testing.TB, entries []Entry, first int64, n int) {
	t.Helper()
	if len(entries) != n {
		t.Errorf("%d entries, want %d", len(entries), n)
	}
	ids := make(map[string]bool)
	for i, e := range entries {
		if e.Number != first+int64(i) || ids[e.ID] {
			t.Fatalf("entry %d has number %d, id %s", i, e.Number, e.ID)
		}
		ids[e.ID] = true
	}
}

func buckets(t *testing.T) map[string]blob.Bucket {
	d, err := dir.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]blob.Bucket{"dir": d, "mem": &mem.Bucket{}}
}

// Several services append, compact and read at once, and all see the same.
func TestServicesShareAJournal(t *testing.T) {
	for name, b := range buckets(t) {
		t.Run(name, func(t *testing.T) {
			const services, each = 3, 200
			var journals []*Journal
			var work sync.WaitGroup
			for s := range services {
				j := open(t, b, func(c *Config) { c.Grace = 50 * time.Millisecond })
				journals = append(journals, j)
				work.Go(func() {
					for i := range each {
						if _, err := appendTo(t, j, fmt.Sprint(s, i)); err != nil {
							t.Error(err)
							return
						}
						if i%50 == 0 {
							if err := j.Maintain(t.Context()); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			work.Wait()
			first := all(t, journals[0], 0)
			check(t, first, 1, services*each)
			for _, j := range append(journals, open(t, b)) {
				if !slices.EqualFunc(first, all(t, j, 0), func(a, b Entry) bool { return a.ID == b.ID }) {
					t.Error("services see different entries")
				}
			}
			data := make(map[string]bool)
			for _, e := range first {
				data[string(e.Data)] = true
			}
			if len(data) != services*each {
				t.Errorf("%d of %d entries", len(data), services*each)
			}
		})
	}
}

func TestCompactionAndForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		keep := func(c *Config) { c.Keep = time.Hour }
		j := open(t, b, keep)
		add(t, j, 2*perSegment+10)
		if err := j.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		if err := j.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := count(t, b, "entries/"); got != 10 {
			t.Errorf("%d single entries", got)
		}
		check(t, all(t, open(t, b), 0), 1, 2*perSegment+10)

		time.Sleep(time.Hour)
		if err := j.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, j := range []*Journal{j, open(t, b)} { // the newest segment stays
			check(t, all(t, j, perSegment), perSegment+1, perSegment+10)
			_, err := j.Read(t.Context(), perSegment-1, 10)
			if gone, ok := errors.AsType[*GoneError](err); !ok || gone.First != perSegment+1 {
				t.Errorf("got %v", err)
			}
		}
		number, err := appendTo(t, open(t, b), "x")
		if err != nil || number != 2*perSegment+11 {
			t.Errorf("got %d, %v", number, err)
		}
	})
}

// A service that slept for long does not give a number a second time.
func TestServiceThatSlept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		keep := func(c *Config) { c.Keep = time.Hour }
		awake, asleep := open(t, b, keep), open(t, b, keep)
		for range 3 {
			add(t, awake, perSegment)
			for range 3 {
				if err := awake.Maintain(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
			}
		}
		number, err := appendTo(t, asleep, "late")
		if err != nil || number != 3*perSegment+1 {
			t.Errorf("got number %d, %v", number, err)
		}
		check(t, all(t, open(t, b), 2*perSegment), 2*perSegment+1, perSegment+1)
	})
}

// pausing sleeps before a write.
type pausing struct {
	blob.Bucket
	pause func()
}

func (p pausing) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	p.pause()
	return p.Bucket.Put(ctx, name, body, size, o)
}

// One that sleeps between looking where the journal ends and writing there takes its entry back.
func TestServiceThatSleepsBeforeItWrites(t *testing.T) {
	for name, keep := range map[string]time.Duration{"compacted": 0, "forgotten": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &mem.Bucket{}
				awake := open(t, b, func(c *Config) { c.Keep = keep })
				add(t, awake, 10)
				var slept bool
				asleep := open(t, pausing{b, func() {
					if slept {
						return
					}
					slept = true
					add(t, awake, 3*perSegment)
					for range 4 {
						if err := awake.Maintain(t.Context()); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Hour)
					}
				}})
				number, err := appendTo(t, asleep, "late")
				if err != nil || number != 3*perSegment+11 {
					t.Fatalf("got number %d, %v", number, err)
				}
				first, _ := open(t, b).Bounds()
				check(t, all(t, open(t, b), first-1), first, int(number-first+1))
			})
		})
	}
}

var errLost = errors.New("the connection broke")

// losing loses answers of writes, which were done or not.
type losing struct {
	blob.Bucket
	random *rand.Rand
}

func (l losing) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	switch l.random.IntN(4) {
	case 0:
		return blob.Info{}, errLost
	case 1:
		if _, err := l.Bucket.Put(ctx, name, body, size, o); err != nil {
			return blob.Info{}, err
		}
		return blob.Info{}, errLost
	}
	return l.Bucket.Put(ctx, name, body, size, o)
}

func TestAnswersThatAreLost(t *testing.T) {
	b := &mem.Bucket{}
	j := open(t, losing{b, rand.New(rand.NewPCG(1, 2))})
	done := 0
	for i := range 500 {
		if _, err := appendTo(t, j, i); err == nil {
			done++
		} else if !errors.Is(err, errLost) {
			t.Fatal(err)
		}
	}
	if done < 300 {
		t.Errorf("%d of 500", done)
	}
	check(t, all(t, open(t, b), 0), 1, done)
}

// Readers that follow, stop and resume lose nothing while others append.
func TestFollowing(t *testing.T) {
	b := &mem.Bucket{}
	writer := open(t, b, func(c *Config) { c.Grace = 50 * time.Millisecond })
	const n = 10_000
	var readers sync.WaitGroup
	var failed atomic.Bool
	for _, since := range []int64{0, n / 2} {
		readers.Go(func() {
			j := open(t, b, func(c *Config) { c.Poll = time.Millisecond })
			var got []Entry
			for at := since; at < n; {
				if err := j.Wait(t.Context(), at); err != nil {
					t.Error(err)
					return
				}
				page, err := j.Follow(t.Context(), at, 70)
				if err != nil {
					t.Error(err)
					failed.Store(true)
					return
				}
				got = append(got, page...)
				at += int64(len(page))
				if rand.IntN(20) == 0 { // it stops, and another process goes on
					j = open(t, b, func(c *Config) { c.Poll = time.Millisecond })
				}
			}
			check(t, got, since+1, int(n-since))
		})
	}
	for i := range n {
		add(t, writer, 1)
		if i%500 == 0 {
			if err := writer.Maintain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	readers.Wait()
}

// counting counts what is asked of a bucket.
type counting struct {
	blob.Bucket
	asked atomic.Int64
}

func (c *counting) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	c.asked.Add(1)
	return c.Bucket.Open(ctx, name, offset)
}

func (c *counting) Stat(ctx context.Context, name string) (blob.Info, error) {
	c.asked.Add(1)
	return c.Bucket.Stat(ctx, name)
}

func (c *counting) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	c.asked.Add(1)
	return c.Bucket.List(ctx, prefix)
}

func TestFollowersShareWhatIsAskedOfTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &mem.Bucket{}
		counted := &counting{Bucket: b}
		writer, j := open(t, b), open(t, counted)
		before := counted.asked.Load()
		var followers sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for n := range 1000 {
			followers.Go(func() {
				time.Sleep(time.Duration(n) * 7 * time.Millisecond)
				at := int64(0)
				for ctx.Err() == nil { // a client that asks anew every few seconds
					waiting, stop := context.WithTimeout(ctx, 5*time.Second)
					entries, err := j.Follow(waiting, at, 100)
					if err == nil && len(entries) == 0 && j.Wait(waiting, at) == nil {
						entries, err = j.Follow(waiting, at, 100)
					}
					stop()
					if err != nil && ctx.Err() == nil {
						t.Error(err)
					}
					at += int64(len(entries))
				}
				if at != 5 {
					t.Errorf("a follower has %d entries", at)
				}
			})
		}
		for range 5 {
			time.Sleep(10 * time.Second)
			add(t, writer, 1)
		}
		followers.Wait()
		if asked := counted.asked.Load() - before; asked > 2*60+20 { // for the next entry, and for its segment
			t.Errorf("1000 followers asked the bucket %d times in a minute", asked)
		}
	})
}

func TestWhatIsNoEntry(t *testing.T) {
	b := &mem.Bucket{}
	j := open(t, b)
	if _, err := appendTo(t, j, strings.Repeat("x", maxEntry)); err == nil {
		t.Error("an entry without bound")
	}
	add(t, j, 3)
	for name, text := range map[string]string{"news/entries/x": "", "news/entries/000000000002": `{"number":7}`} {
		if err := blob.PutBytes(t.Context(), b, name, []byte(text), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(t, b).Read(t.Context(), 0, 10); err == nil {
		t.Error("an entry of another number was read")
	}
	var e Entry
	if err := json.Unmarshal([]byte(`{"number":7}`), &e); err != nil || e.Number != 7 {
		t.Error(err)
	}
}

func count(t *testing.T, b blob.Bucket, kind string) (n int) {
	t.Helper()
	for _, err := range b.List(t.Context(), "news/"+kind) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestOneOfSeveralAppendsBehindANumber(t *testing.T) {
	b := &mem.Bucket{}
	one, other := New(Config{Bucket: b}), New(Config{Bucket: b})
	if e, err := one.Last(t.Context()); err != nil || e.Number != 0 {
		t.Errorf("of an empty journal: %+v, %v", e, err)
	}
	if e, err := one.AppendBehind(t.Context(), 0, "a"); err != nil || e.Number != 1 {
		t.Errorf("got %+v, %v", e, err)
	}
	for _, last := range []int64{0, 0} { // other does not know of it, and then does
		if _, err := other.AppendBehind(t.Context(), last, "b"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("behind %d: got %v", last, err)
		}
		if e, err := other.Last(t.Context()); err != nil || e.Number != 1 || string(e.Data) != `"a"` {
			t.Errorf("got %+v, %v", e, err)
		}
	}
	if e, err := other.AppendBehind(t.Context(), 1, "b"); err != nil || e.Number != 2 {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := one.Last(t.Context()); err != nil || string(e.Data) != `"b"` {
		t.Errorf("got %+v, %v", e, err)
	}
}
