package buildcache

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"
)

const newerScope = "go1.26.9-linux-amd64"

// fillTwo stores a sample in each of two scopes, the second later.
func fillTwo(t *testing.T, remote Store) (a, b sample) {
	t.Helper()
	a, b = makeSample("a", 100), makeSample("b", 100)
	fill(t, remote, "x", a)
	c := newCache(t, Config{Remote: remote})
	s, err := c.Start(Build{Scope: newerScope, Label: "x"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, b)
	finish(c)
	return a, b
}

func hasIn(t *testing.T, remote Store, scope string, x sample) bool {
	t.Helper()
	c := newCache(t, Config{Remote: remote, ReadOnly: true})
	defer finish(c)
	s, err := c.Start(Build{Scope: scope, Label: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return has(t, s, x)
}

func TestTrimDiscardsWhatNobodyWroteToForLongest(t *testing.T) {
	eachStore(t, func(t *testing.T, remote Store) {
		a, b := fillTwo(t, remote)
		all, err := Trim(t.Context(), remote, 1<<20)
		if err != nil || !slices.Equal(all.Kept, []string{newerScope, testScope}) || all.Discarded != nil || all.Orphans != 0 {
			t.Fatalf("%+v, %v", all, err)
		}
		if !hasIn(t, remote, testScope, a) || !hasIn(t, remote, newerScope, b) {
			t.Error("something of it is gone, though there was room")
		}
		got, err := Trim(t.Context(), remote, all.Bytes-1)
		if err != nil || !slices.Equal(got.Kept, []string{newerScope}) || !slices.Equal(got.Discarded, []string{testScope}) || got.Bytes >= all.Bytes {
			t.Fatalf("%+v, %v", got, err)
		}
		if hasIn(t, remote, testScope, a) {
			t.Error("the older one is still there")
		}
		if !hasIn(t, remote, newerScope, b) {
			t.Error("the newer one is gone")
		}
		if _, bucket := remote.(bucketStore); bucket && len(names(t, remote, packDir)) != 1 {
			t.Errorf("%v", names(t, remote, packDir))
		}
	})
}

func TestTrimRemovesPacksThatNoIndexKnows(t *testing.T) {
	for _, url := range []string{"mem://", "file://" + t.TempDir()} {
		remote := openStore(t, url)
		a, b := fillTwo(t, remote)
		lost := []byte("of a build that died")
		if err := remote.Write(t.Context(), packName(sha256.Sum256(lost)), lost, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := Trim(t.Context(), remote, 0); err != nil || got.Orphans != 0 {
			t.Errorf("a pack that may be of a build under way: %+v, %v", got, err)
		}
		if got, err := trim(t.Context(), remote, 0, time.Now().Add(time.Hour)); err != nil || got.Orphans != 1 || len(got.Kept) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		if len(names(t, remote, packDir)) != 2 || !hasIn(t, remote, testScope, a) || !hasIn(t, remote, newerScope, b) {
			t.Errorf("%v", names(t, remote, packDir))
		}
	}
}

func TestTrimmingAPackThatTwoScopesHaveKeepsIt(t *testing.T) {
	remote := openStore(t, "mem://")
	a := makeSample("a", 100)
	for _, scope := range []string{testScope, newerScope} {
		c := newCache(t, Config{Remote: remote})
		s, err := c.Start(Build{Scope: scope, Label: "x"})
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, a)
		finish(c)
	}
	if list := names(t, remote, packDir); len(list) != 1 {
		t.Fatalf("%v", list)
	}
	all, _, err := usages(t.Context(), remote)
	if err != nil || len(all) != 2 || all[1].scope != testScope {
		t.Fatalf("%v, %v", all, err)
	}
	if err := discard(t.Context(), remote, all[1], map[ID]bool{idOfPack(t, remote): true}); err != nil {
		t.Fatal(err)
	}
	if hasIn(t, remote, testScope, a) || !hasIn(t, remote, newerScope, a) {
		t.Error("not the scope that was meant")
	}
}

func idOfPack(t *testing.T, remote Store) ID {
	t.Helper()
	id, err := ParseID(names(t, remote, packDir)[0][len(packDir):])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestADamagedIndexIsInNobodysWay(t *testing.T) {
	remote := openStore(t, "mem://")
	fill(t, remote, "x", makeSample("a", 100))
	name := names(t, remote, indexDir)[0]
	if err := remote.Write(t.Context(), name, []byte("garbage"), nil); err != nil {
		t.Fatal(err)
	}
	got, err := trim(t.Context(), remote, 0, time.Now().Add(time.Hour))
	if err != nil || got.Orphans != 0 { // it may be one that others can read
		t.Errorf("%+v, %v", got, err)
	}
}
