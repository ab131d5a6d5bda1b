package native

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"k6x/gotool"
)

func TestOutputKeepsHeadAndTail(t *testing.T) {
	for _, chunk := range []int{1, 3, 7, 1000} {
		o := &output{max: 20, line: func(string) {}}
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
		o := &output{max: 20, line: func(string) {}}
		text := strings.Repeat("é", 10)[:n]
		fmt.Fprint(o, text)
		if got := o.String(); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

func TestOutputTellsLinesAsTheyCome(t *testing.T) {
	var lines []string
	o := &output{max: 10, line: func(s string) { lines = append(lines, s) }}
	for _, piece := range []string{"go: fin", "ding\nsec", "ond\n\n", strings.Repeat("x", 3*maxLine), "\nunfinished"} {
		fmt.Fprint(o, piece)
	}
	want := []string{"go: finding", "second", "", strings.Repeat("x", maxLine)}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", lines)
	}
}

func TestCleanLeavesNothingOfTheMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	e := &Engine{cfg: Config{Dir: dir, Tool: &gotool.Tool{Root: "/opt/go"}}, dirs: gotool.Dirs{ModCache: filepath.Join(dir, "modcache")}}
	ws := &workspace{dir: filepath.Join(dir, "work", "1", "2")}
	for in, want := range map[string]string{
		dir + "/modcache/github.com/!burnt!sushi/toml@v1.0.0/a.go:1:2: no": "github.com/BurntSushi/toml@v1.0.0/a.go:1:2: no",
		"../../../modcache/example.com/x@v1.0.0/a.go:1:2: no":              "example.com/x@v1.0.0/a.go:1:2: no",
		ws.dir + "/main.go:1: no":                                          "main.go:1: no",
		ws.dir + "/tmp/go-build1/b001: no":                                 "tmp/go-build1/b001: no",
		"/opt/go/src/fmt/print.go:1: no":                                   "GOROOT/src/fmt/print.go:1: no",
		"reading https://user:secret@proxy.example/a: 403":                 "reading https://proxy.example/a: 403",
		"go: downloading a v1.0.0\nerror\ngo: downloading b v1.0.0\n":      "error\n",
		"\x1b[31mred\x1b[0m\tand\x00 \xff":                                 "[31mred[0m\tand ?",
	} {
		if got := e.clean(filepath.FromSlash(in), ws); got != filepath.FromSlash(want) {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
