package gobuild

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k6x/event"
)

// watched returns a sink, and what it was sent.
func watched() (event.Sink, *[]event.Event) {
	var seen []event.Event
	return func(e event.Event) { seen = append(seen, e) }, &seen
}

// wantForward fails the test if a step or count goes back.
func wantForward(t *testing.T, seen []event.Event) {
	t.Helper()
	for i, p := range seen[1:] {
		before := seen[i]
		if p.Step < before.Step || p.Step == before.Step && (p.Done < before.Done || p.Total < before.Total) {
			t.Errorf("from %+v back to %+v", before, p)
		}
	}
}

func TestProgressNeverGoesBack(t *testing.T) {
	sink, seen := watched()
	p := Watch(sink)
	for i := range 2 * manyPackages {
		p.Line(fmt.Sprintf("example.com/p%d", i))
		p.Line("example.com/p0")
		p.Line("go: downloading example.com/late v1.0.0")
		if i == manyPackages {
			p.Count([]string{"example.com/p0", "example.com/p12", "example.com/p13", mainPackage})
		}
	}
	p.Line("a line of the compiler: no")
	p.Line(mainPackage)
	p.Line("example.com/later")
	p.Count(nil)
	wantForward(t, *seen)
	end := (*seen)[len(*seen)-1]
	if compiled := (*seen)[len(*seen)-2]; end.Step != event.Linking || compiled.Done != 2*manyPackages {
		t.Errorf("%+v, then %+v", compiled, end)
	}
}

func TestOutputIsTheSameWithProgressOrWithout(t *testing.T) {
	const said = "internal/abi\nexample.com/p\ngo: downloading a v1\n# example.com/x\nexample.com/x@v1/a.go:1:2: no\n" +
		"get \"x.example/y\": found meta tag\n# cd /cache; git ls-remote\nexample.com/q is bad\nk6\n\n"
	sink, _ := watched()
	p := Watch(sink)
	for line := range strings.Lines(said) {
		p.Line(strings.TrimSuffix(line, "\n"))
	}
	const want = "go: downloading a v1\n# example.com/x\nexample.com/x@v1/a.go:1:2: no\nexample.com/q is bad\n\n"
	if got := p.Without(said); got != want || !slices.Equal(p.Flags(), []string{"-v"}) {
		t.Errorf("%q, want %q, with %v", got, want, p.Flags())
	}
	if got := p.Without("example.com/never/compiled\n"); got == "" {
		t.Error("a line that is no package of the build is left out")
	}
	var none *Progress
	none.Line("example.com/p")
	none.Linking()
	if got := none.Without(said); got != said || none.Flags() != nil {
		t.Errorf("%q with %v", got, none.Flags())
	}
}
