package buildcache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// writeNote writes a note and waits until it is there.
func writeNote(t *testing.T, c *Cache, text string) (old string) {
	t.Helper()
	s := start(t, c, "x")
	if err := s.Update(t.Context(), "note", func(b []byte) ([]byte, error) {
		old = string(b)
		return []byte(text), nil
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	<-s.sent
	return old
}

// startOnly is start of a session that fetches nothing ahead.
func startOnly(t *testing.T, c *Cache) *Session {
	t.Helper()
	s, err := c.Start(Build{Scope: testScope, Label: "new"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// readNote returns a note; "" if there is none.
func readNote(t *testing.T, c *Cache) string {
	t.Helper()
	s := startOnly(t, c)
	defer s.Close()
	text, err := s.Load(t.Context(), "note")
	if err != nil {
		t.Log(err)
	}
	return string(text)
}

func TestNotesTravel(t *testing.T) {
	eachStore(t, func(t *testing.T, remote Store) {
		a, b := newCache(t, Config{Remote: remote}), newCache(t, Config{Remote: remote})
		if got := readNote(t, a); got != "" {
			t.Errorf("%q before any was written", got)
		}
		if old := writeNote(t, a, "one"); old != "" {
			t.Errorf("%q before the first", old)
		}
		if old := writeNote(t, b, "two"); old != "one" {
			t.Errorf("%q before the second", old)
		}
		if old := writeNote(t, a, "three"); old != "two" {
			t.Errorf("%q before the third, of a process that is old", old)
		}
		before := len(names(t, remote, ""))
		writeNote(t, a, "three")
		if got := len(names(t, remote, "")); got != before {
			t.Errorf("%d objects became %d, though nothing was new", before, got)
		}
		c := newCache(t, Config{Remote: remote, ReadOnly: true})
		if got := readNote(t, c); got != "three" {
			t.Errorf("it reads %q", got)
		}
		err := startOnly(t, c).Update(t.Context(), "note", func([]byte) ([]byte, error) {
			t.Error("a reader was asked for a note")
			return nil, nil
		})
		if err != nil {
			t.Error(err)
		}
		output, at, _ := c.scopeNamed(testScope).note("note")
		if err := os.WriteFile(c.local.output(output), bytes.Repeat([]byte("x"), int(at.size)), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"", "three"} { // what is damaged here is fetched anew
			if got := readNote(t, c); got != want {
				t.Errorf("it reads %q of a damaged file, want %q", got, want)
			}
		}
	})
}

func TestANoteThatIsDamagedIsWrittenAnew(t *testing.T) {
	remote := &faulty{Store: plainStore()}
	writeNote(t, newCache(t, Config{Remote: remote}), "one")
	remote.open = func(body []byte) []byte { return body[:len(body)/2] }
	c := newCache(t, Config{Remote: remote})
	if got := readNote(t, c); got != "" {
		t.Errorf("it reads %q", got)
	}
	if old := writeNote(t, c, "two"); old != "" {
		t.Errorf("%q before the second", old)
	}
	remote.open = nil
	if got := readNote(t, newCache(t, Config{Remote: remote})); got != "two" {
		t.Errorf("it reads %q", got)
	}
	remote.open, remote.cut = nil, 3 // which is no loss
	s := start(t, newCache(t, Config{Remote: remote}), "x")
	if err := s.Update(t.Context(), "note", func([]byte) ([]byte, error) { return []byte("three"), nil }); err == nil {
		t.Error("a note that could not be read was overwritten")
	}
}

func TestOutputsAreFetchedWithoutTheGoCommand(t *testing.T) {
	eachStore(t, func(t *testing.T, remote Store) {
		a, b, other := makeSample("a", 100), makeSample("b", 1000), makeSample("other", 50)
		fill(t, remote, "1", a)
		fill(t, remote, "2", b)
		fill(t, remote, "3", other)
		counted := &faulty{Store: remote}
		c := newCache(t, Config{Remote: counted, ReadOnly: true})
		s := startOnly(t, c)
		if err := s.Fetch(t.Context(), []string{a.output.String(), b.output.String(), makeSample("nobody's", 1).output.String()}); err != nil {
			t.Error(err)
		}
		if !c.local.has(a.output, 100) || !c.local.has(b.output, 1000) {
			t.Error("they are not here")
		}
		if n := c.Stats(); counted.packs.Load() != 2 || n.RemoteHits != 2 {
			t.Errorf("%d packs, %+v", counted.packs.Load(), n)
		}
		if err := s.Fetch(t.Context(), []string{"../x"}); err == nil {
			t.Error("no error of what is no digest")
		}
	})
	s := start(t, newCache(t, Config{}), "x")
	if err := s.Fetch(t.Context(), nil); err == nil {
		t.Error("no error without a remote level")
	}
	if _, err := s.Load(t.Context(), "note"); err == nil {
		t.Error("a note of nobody")
	}
}

// A remote level that takes a connection and says nothing costs the time of one exchange.
func TestAFetchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &faulty{Store: plainStore()}
		var outputs []string
		for i := range 20 { // each in a pack of its own
			x := makeSample(string(rune('a'+i)), 100)
			fill(t, remote, "x", x)
			outputs = append(outputs, x.output.String())
			time.Sleep(time.Second)
		}
		c := newCache(t, Config{Remote: remote})
		s := startOnly(t, c)
		<-s.scope.ready
		remote.delay = time.Hour
		began := time.Now()
		err := s.Fetch(t.Context(), outputs)
		if waited := time.Since(began); err == nil || waited > 2*c.cfg.Timeout {
			t.Errorf("%v after %v", err, waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Fetch(ctx, outputs); errors.Is(err, context.DeadlineExceeded) {
			t.Error("it is asked again at once")
		}
		finish(c)
	})
}
