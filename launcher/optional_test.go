package launcher

import (
	"context"
	"slices"
	"strings"
	"testing"

	"k6x"
)

func TestWhatIsOptionalIsLeftOutIfItCannotBeHad(t *testing.T) {
	data := k6(t)
	refused := func(kind k6x.Kind) map[string]error {
		return map[string]error{"k6/x/b": k6x.Errorf(kind, "k6/x/b is not to be had\nmore of it")}
	}
	all := []string{"k6/x/a", "k6/x/b", "k6/x/c", "k6/x/d"}
	for name, c := range map[string]struct {
		shop     *shop
		needs    string
		optional []string
		want     string
		left     []string
	}{
		"all is there":       {&shop{has: all}, "k6/x/a,k6/x/b", []string{"k6/x/b"}, "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/b@v0.1.0", nil},
		"not registered":     {&shop{has: all[:1]}, "k6/x/a,k6/x/b", []string{"k6/x/b"}, "k6@v1.1.0,k6/x/a@v0.1.0", []string{"k6/x/b"}},
		"nothing but k6":     {&shop{}, "k6/x/a", []string{"k6/x/a"}, "k6@v1.1.0", []string{"k6/x/a"}},
		"does not compile":   {&shop{has: all, fetch: refused(k6x.BuildFailed)}, "k6/x/a,k6/x/b", []string{"k6/x/b"}, "k6@v1.1.0,k6/x/a@v0.1.0", []string{"k6/x/b"}},
		"contradicts":        {&shop{has: all, fetch: refused(k6x.Conflict)}, "k6,k6/x/a,k6/x/b", []string{"k6/x/b"}, "k6@v1.1.0,k6/x/a@v0.1.0", []string{"k6/x/b"}},
		"refused":            {&shop{has: all, fetch: refused(k6x.Forbidden)}, "k6/x/b", []string{"k6/x/b"}, "k6@v1.1.0", []string{"k6/x/b"}},
		"one of several":     {&shop{has: all, fetch: refused(k6x.Conflict)}, "k6/x/a,k6/x/b,k6/x/c", []string{"k6/x/a", "k6/x/b", "k6/x/c"}, "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/c@v0.1.0", []string{"k6/x/b"}},
		"the last of them":   {&shop{has: all[:2]}, "k6/x/a,k6/x/b,k6/x/c", []string{"k6/x/b", "k6/x/c"}, "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/b@v0.1.0", []string{"k6/x/c"}},
		"none of them":       {&shop{}, "k6/x/b,k6/x/c", []string{"k6/x/b", "k6/x/c"}, "k6@v1.1.0", []string{"k6/x/b", "k6/x/c"}},
		"required":           {&shop{has: all[:1]}, "k6/x/a,k6/x/b", []string{"k6/x/a"}, "", nil},
		"no answer":          {&shop{fails: k6x.Errorf(k6x.Unavailable, "no answer")}, "k6/x/a", []string{"k6/x/a"}, "", nil},
		"it takes too long":  {&shop{has: all, fetch: refused(k6x.Timeout)}, "k6/x/b", []string{"k6/x/b"}, "", nil},
		"too much under way": {&shop{has: all, fetch: refused(k6x.Quota)}, "k6/x/b", []string{"k6/x/b"}, "", nil},
	} {
		c.shop.name, c.shop.data = "s", data
		b := newBench(t, c.shop)
		b.Optional = c.optional
		got, err := b.get(c.needs)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, c.want)
		}
		lines := slices.DeleteFunc(b.printed, func(s string) bool { return !strings.Contains(s, " is left out") })
		for i, line := range lines {
			if i >= len(c.left) || !strings.HasPrefix(line, c.left[i]+" is left out, as the script may do without it: ") || strings.Contains(line, "\n") {
				t.Errorf("%s: printed %q", name, lines)
			}
		}
		if len(lines) != len(c.left) {
			t.Errorf("%s: printed %q, want %q left out", name, lines, c.left)
		}
	}
}

// However many imports cannot be had, and whatever is said of them, few builds are begun.
func TestFewBuildsAreTriedForWhatIsOptional(t *testing.T) {
	names := []string{"k6/x/a", "k6/x/ab", "k6/x/b", "k6/x/c", "k6/x/d", "k6/x/e", "k6/x/f"}
	each, none, all := map[string]error{}, map[string]error{}, map[string]error{}
	for _, name := range names {
		each[name] = k6x.Errorf(k6x.BuildFailed, "%s (example.com/xk6@v0.1.0) does not compile", name)
		none[name] = k6x.Errorf(k6x.BuildFailed, "it does not compile")
		all[name] = k6x.Errorf(k6x.BuildFailed, "%s cannot be built", strings.Join(names, ", "))
	}
	for name, c := range map[string]struct {
		fetch  map[string]error
		builds int
	}{"each is named": {each, mostTries + 1}, "none is named": {none, 2}, "all are named": {all, 2}} {
		s := &shop{name: "s", data: k6(t), has: append(names, "k6/x/had"), fetch: c.fetch}
		b := newBench(t, s)
		b.Optional = names
		b.want(strings.Join(append(names, "k6/x/had"), ","), "k6@v1.1.0,k6/x/had@v0.1.0")
		builds := slices.DeleteFunc(slices.Clone(s.asked), func(asked string) bool { return asked[0] != '+' })
		if len(builds) != c.builds {
			t.Errorf("%s: %d builds, want %d: %q", name, len(builds), c.builds, builds)
		}
	}
	had := slices.Delete(slices.Clone(names), 1, 2)
	s := &shop{name: "s", data: k6(t), has: append(had, "k6/x/had")} // k6/x/ab is in the words, and k6/x/a is not
	b := newBench(t, s)
	b.Optional = names
	if got, err := b.get(strings.Join(append(names, "k6/x/had"), ",")); err != nil || !strings.Contains(got, "k6/x/a@") || strings.Contains(got, "k6/x/ab@") {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestWithoutABuilderAKeptK6WithoutWhatIsOptionalIsUsed(t *testing.T) {
	s := &shop{name: "s", data: k6(t), has: []string{"k6/x/a"}}
	b := newBench(t, s)
	b.Optional = []string{"k6/x/b"}
	b.want("k6/x/a,k6/x/b", "k6@v1.1.0,k6/x/a@v0.1.0")
	s.fails = k6x.Errorf(k6x.Unavailable, "no answer")
	b.want("k6/x/a,k6/x/b", "k6@v1.1.0,k6/x/a@v0.1.0")
	if got, err := b.get("k6/x/b,k6/x/c"); err == nil {
		t.Errorf("without what is required: %s", got)
	}
}

func TestVersionsAreResolvedWithoutWhatIsOptional(t *testing.T) {
	b := newBench(t, &shop{name: "s", has: []string{"k6/x/a"}})
	b.Optional = []string{"k6/x/b"}
	pinned, by, err := b.Resolve(t.Context(), parse(t, "k6/x/a,k6/x/b"))
	if err != nil || by != "s" || pinned.String() != "k6@v1.1.0,k6/x/a@v0.1.0" {
		t.Errorf("%s by %s, %v", pinned, by, err)
	}
}

// A binary that does not start is used for what no other has, and for nothing else.
func TestABinaryThatDoesNotStartBreaksNoOtherCommand(t *testing.T) {
	s := &shop{name: "s", data: k6(t), has: []string{"k6/x/a", "k6/x/panics"}}
	b := newBench(t, s)
	panics := make(map[string]bool) // by path
	tried := 0
	b.Fails = func(_ context.Context, path string) bool { tried++; return panics[path] }
	b.want("k6/x/a", "k6@v1.1.0,k6/x/a@v0.1.0")
	b.want("k6/x/a,k6/x/panics", "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/panics@v0.1.0")
	bad, _, err := b.Get(t.Context(), parse(t, "k6/x/a,k6/x/panics"))
	if err != nil {
		t.Fatal(err)
	}
	if tried != 2 {
		t.Errorf("the start was tried %d times, want once for each binary", tried)
	}
	panics[bad.Path] = true
	b.want("k6/x/a", "k6@v1.1.0,k6/x/a@v0.1.0")

	s.fails = k6x.Errorf(k6x.Unavailable, "no answer")
	b.want("k6/x/a,k6/x/panics", "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/panics@v0.1.0") // it may start by now
	if got, err := b.get("k6"); err != nil || got != "k6@v1.1.0,k6/x/a@v0.1.0" {
		t.Errorf("k6: %s, %v", got, err)
	}
	if got, err := b.get("k6/x/panics"); err == nil {
		t.Errorf("one that has more, and does not start, is used: %s", got)
	}
}
