package buildcache

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"k6x/internal/cage"
)

func TestWhatOneMachineCompiledAnotherOneHas(t *testing.T) {
	samples := []sample{makeSample("a", 100), makeSample("b", 1<<20), makeSample("empty", 0), makeSample("c", 7)}
	eachStore(t, func(t *testing.T, remote Store) {
		fill(t, remote, "k6@v1", samples...)
		counted := &faulty{Store: remote}
		c := newCache(t, Config{Remote: counted, ReadOnly: true})
		s := start(t, c, "k6@v1")
		want(t, s, samples...)
		if has(t, s, makeSample("never compiled", 10)) {
			t.Error("a hit of what nobody compiled")
		}
		if n := c.Stats(); n.RemoteHits != 4 || n.Misses != 1 || counted.packs.Load() != 1 || n.ReadFailures != 0 {
			t.Errorf("%+v", n)
		}
		s.Close()
		finish(c)
		offline := newCache(t, Config{Dir: c.cfg.Dir})
		want(t, start(t, offline, "k6@v1"), samples...)
	})
}

func TestPacksOfALabelAreFetchedBeforeAnybodyAsks(t *testing.T) {
	remote := openStore(t, "mem://")
	a, b := makeSample("a", 1000), makeSample("b", 1000)
	fill(t, remote, "k6@v1,x@v1", a)
	fill(t, remote, "k6@v2", b)
	for label, expected := range map[string]sample{"k6@v1,x@v1": a, "k6@v1,y@v1": a, "k6@v2": b, "k6@v2,x@v1": b, "k7": b} {
		counted := &faulty{Store: remote}
		c := newCache(t, Config{Remote: counted, ReadOnly: true})
		s := start(t, c, label)
		s.prefetch(t.Context()) // joins the one that goes on
		if !c.local.has(expected.output, 1000) {
			t.Errorf("%s: it is not there", label)
		}
		s.Close()
		finish(c)
		if n := counted.packs.Load(); n != 1 {
			t.Errorf("%s: %d packs", label, n)
		}
	}
}

func TestWhatIsThereIsNotSentAgain(t *testing.T) {
	remote := openStore(t, "mem://")
	a, b := makeSample("a", 1000), makeSample("b", 1000)
	same := sample{makeSample("other action", 0).action, a.output, a.body}
	fill(t, remote, "1", a)
	packs := names(t, remote, packDir)
	fill(t, remote, "1", a)
	if again := names(t, remote, packDir); !slices.Equal(packs, again) || len(names(t, remote, indexDir)) != 1 {
		t.Errorf("packs %v became %v", packs, again)
	}
	fill(t, remote, "2", same, b) // the body of one is there
	if list := names(t, remote, packDir); len(list) != 2 {
		t.Errorf("%v", list)
	}
	c := newCache(t, Config{Remote: remote})
	s := start(t, c, "2")
	want(t, s, a, same, b)
	s.scope.mu.Lock()
	defer s.scope.mu.Unlock()
	for id, p := range s.scope.packs {
		if len(p.Outputs) != 1 {
			t.Errorf("%d outputs in %v", len(p.Outputs), id)
		}
	}
}

func TestABuildThatCompiledNothingIsRememberedForWhatItNeeded(t *testing.T) {
	remote := openStore(t, "mem://")
	a, b := makeSample("a", 1000), makeSample("b", 1000)
	fill(t, remote, "first", a)
	fill(t, remote, "second", b)
	c := newCache(t, Config{Remote: remote})
	s := start(t, c, "third")
	want(t, s, a, b)
	s.Close()
	finish(c)
	if indexes, packs := names(t, remote, indexDir), names(t, remote, packDir); len(indexes) != 3 || len(packs) != 2 {
		t.Fatalf("%q, %q", indexes, packs)
	}
	r := newCache(t, Config{Remote: remote, ReadOnly: true})
	s = start(t, r, "third")
	<-s.scope.ready
	if packs := s.scope.packsFor("third"); len(packs) != 2 {
		t.Errorf("%d packs", len(packs))
	}
}

// A machine that has all compiled fills a store that has nothing, if it is told to, and says nothing twice.
func TestAWarmMachineFillsAnEmptyStore(t *testing.T) {
	remote := openStore(t, "mem://")
	a, b := makeSample("a", 1000), makeSample("b", 1000)
	warm := newCache(t, Config{})
	put(t, start(t, warm, "k6@v1"), a, b)
	for _, fill := range []struct {
		told  bool
		packs int
	}{{false, 0}, {true, 1}, {true, 1}} {
		c := newCache(t, Config{Dir: warm.cfg.Dir, Remote: remote, Fill: fill.told})
		s := start(t, c, "k6@v1")
		<-s.scope.ready
		want(t, s, a, b)
		s.Close()
		finish(c)
		if n := len(names(t, remote, packDir)); n != fill.packs {
			t.Errorf("told %t: %d packs, want %d", fill.told, n, fill.packs)
		}
	}
	c := newCache(t, Config{Remote: remote, ReadOnly: true})
	want(t, start(t, c, "k6@v1"), a, b)
}

func TestReadersWriteNothing(t *testing.T) {
	remote := openStore(t, "mem://")
	c := newCache(t, Config{Remote: remote, ReadOnly: true})
	s := start(t, c, "x")
	put(t, s, makeSample("a", 10))
	s.Close()
	finish(c)
	if list := names(t, remote, ""); len(list) != 0 {
		t.Errorf("wrote %v", list)
	}
}

func TestScopesAreApart(t *testing.T) {
	remote := openStore(t, "mem://")
	a := makeSample("a", 10)
	fill(t, remote, "x", a)
	c := newCache(t, Config{Remote: remote})
	s, err := c.Start(Build{Scope: "go1.26.8-windows-amd64", Label: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if has(t, s, a) {
		t.Error("a hit in another scope")
	}
	for _, scope := range []string{"", "../x", "UPPER", "a/b", "a b", ".x"} {
		if _, err := c.Start(Build{Scope: scope, Label: ""}); err == nil {
			t.Errorf("scope %q was taken", scope)
		}
	}
}

func TestIndexesAreMergedAndNothingIsLost(t *testing.T) {
	eachStore(t, func(t *testing.T, remote Store) {
		c := newCache(t, Config{Remote: remote})
		var calls atomic.Int64
		c.now = func() time.Time { return time.Unix(calls.Add(1), 0) } // no two sessions at a time
		var samples []sample
		for i := range mergeAfter + 3 {
			x := makeSample(fmt.Sprint("sample ", i), 100)
			samples = append(samples, x)
			s := start(t, c, fmt.Sprint("label ", i))
			put(t, s, x)
			s.Close()
			<-s.sent
		}
		finish(c)
		if n := c.Stats(); n.WriteFailures != 0 || n.Dropped != 0 {
			t.Errorf("%+v", n)
		}
		if list := names(t, remote, indexDir); len(list) != 3 {
			t.Errorf("%d indexes", len(list))
		}
		r := newCache(t, Config{Remote: remote, ReadOnly: true})
		s := start(t, r, "label 1")
		want(t, s, samples...)
		s.scope.mu.Lock()
		defer s.scope.mu.Unlock()
		if len(s.scope.builds) != len(samples) {
			t.Errorf("%v", slices.Collect(maps.Keys(s.scope.builds)))
		}
	})
}

func TestManyBodiesBecomeFewPacks(t *testing.T) {
	remote := openStore(t, "mem://")
	var samples []sample
	for i := range 2*packOutputs + 1 {
		samples = append(samples, makeSample(fmt.Sprint(i), 50))
	}
	fill(t, remote, "x", samples...)
	if list := names(t, remote, packDir); len(list) != 3 {
		t.Errorf("%d packs", len(list))
	}
	want(t, start(t, newCache(t, Config{Remote: remote}), "x"), samples...)
}

func TestCloseOfTheCacheEndsSessions(t *testing.T) {
	remote := openStore(t, "mem://")
	c := newCache(t, Config{Remote: remote})
	s := start(t, c, "x")
	put(t, s, makeSample("a", 100))
	finish(c)
	if list := names(t, remote, indexDir); len(list) != 1 {
		t.Errorf("%d indexes", len(list))
	}
	put(t, s, makeSample("b", 100)) // goes nowhere, and does no harm
	if _, err := s.Attach(exec.Command("go"), new(cage.Policy)); err == nil {
		t.Error("a session that is over is served")
	}
	want(t, start(t, c, "x"), makeSample("b", 100))
}

func TestTwoSessionsSendOneBodyOnce(t *testing.T) {
	remote := openStore(t, "mem://")
	c := newCache(t, Config{Remote: remote})
	x := makeSample("x", 1000)
	first, second := start(t, c, "1"), start(t, c, "2")
	put(t, first, x)
	put(t, second, x)
	first.Close()
	second.Close()
	finish(c)
	if n := c.Stats(); n.OutputsSent != 1 {
		t.Errorf("%+v", n)
	}
	want(t, start(t, newCache(t, Config{Remote: remote}), "2"), x)
}
