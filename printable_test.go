package k6x_test

import (
	"testing"

	"k6x"
)

func TestPrintableTakesOutWhatPlaysTricks(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 世\n\ttext":             "plain ü 世\n\ttext",
		"\x1b[2Jevil\u202e\x07\r\u009b": "[2Jevil",
		"a\xffb":                        "a\uFFFDb",
	} {
		if got := k6x.Printable(in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}
