package cage

import (
	"fmt"
	"strings"
	"testing"
)

func TestOutputKeepsHeadAndTail(t *testing.T) {
	for _, chunk := range []int{1, 3, 7, 1000} {
		o := &Output{Max: 20}
		text := "0123456789" + strings.Repeat("x", 500) + "abcdefghij"
		for rest := text; rest != ""; {
			n := min(chunk, len(rest))
			if _, err := o.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if got, want := o.String(), "0123456789\n… 500 bytes are left out here …\nabcdefghij"; got != want {
			t.Errorf("in pieces of %d: %q, want %q", chunk, got, want)
		}
		if n := cap(o.head) + cap(o.tail); n > 200 {
			t.Errorf("%d bytes of memory", n)
		}
	}
}

func TestOutputKeepsAllOfWhatIsShort(t *testing.T) {
	for n := range 21 {
		o := &Output{Max: 20}
		text := strings.Repeat("é", 10)[:n]
		fmt.Fprint(o, text)
		if got := o.String(); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

func TestOutputTellsLinesAsTheyCome(t *testing.T) {
	var lines []string
	o := &Output{Max: 10, Line: func(s string) { lines = append(lines, s) }}
	for _, piece := range []string{"go: fin", "ding\nsec", "ond\n\n", strings.Repeat("x", 3*maxLine), "\nunfinished"} {
		fmt.Fprint(o, piece)
	}
	want := []string{"go: finding", "second", "", strings.Repeat("x", maxLine)}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", lines)
	}
}
