package gobuild

import (
	"errors"
	"strings"
	"testing"

	"k6x/event"
)

// tell returns what a build that prints text tells meanwhile.
func tell(l *Live, text string) (lines []string) {
	l.Sink = func(e event.Event) { lines = append(lines, e.Output) }
	l.Clean = func(line string) string { return Clean(line, "/work", Place{"/mod", ""}) }
	for line := range strings.Lines(text) {
		l.Line(strings.TrimSuffix(line, "\n"))
	}
	return lines
}

func TestWhatCompilersSayIsToldLineByLine(t *testing.T) {
	const text = "go: downloading example.com/a v1.0.0\nsome words\n# example.com/a\n/mod/example.com/a@v1.0.0/a.go:1: undefined: x\n" +
		"/etc/secret:1: no\n\tand more of it\n# example.com/b\n/mod/example.com/b@v1.0.0/b.go:2: no\n"
	const want = "# example.com/a\nexample.com/a@v1.0.0/a.go:1: undefined: x\n# example.com/b\nexample.com/b@v1.0.0/b.go:2: no\n"
	if got := strings.Join(tell(&Live{}, text), ""); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := strings.Join(tell(&Live{All: true}, text), ""); !strings.Contains(got, "secret:1") || !strings.Contains(got, "more of it") {
		t.Errorf("to the owner\n%s", got)
	}
	// Each package is checked for itself, as modules are added until it is compiled.
	times := 0
	got := strings.Join(tell(&Live{Check: func() error {
		if times++; times > 1 {
			return errors.New("it reads what is not its own")
		}
		return nil
	}}, text), "")
	if times != 2 || !strings.Contains(got, "a.go:1") || strings.Contains(got, "b.go") {
		t.Errorf("checked %d times, told\n%s", times, got)
	}
	(*Live)(nil).Line("# example.com/a")
}

func TestWhatIsToldMeanwhileIsBounded(t *testing.T) {
	for _, text := range []string{strings.Repeat("a.go:1: no\n", 10_000), strings.Repeat(strings.Repeat("x", 4000)+"\n", 100)} {
		lines := tell(&Live{}, "# example.com/a\n"+text)
		if said := strings.Join(lines, ""); len(lines) > liveLines+1 || len(said) > liveBytes+100 || !strings.HasSuffix(said, "told only if the build fails …\n") {
			t.Errorf("%d lines, %d bytes, the last is %s", len(lines), len(said), lines[len(lines)-1])
		}
	}
}
