package native

import (
	"path/filepath"
	"testing"

	"k6x/builder/internal/workdir"
	"k6x/gotool"
)

func TestCleanLeavesNothingOfTheMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	e := &Engine{Host: &workdir.Host{Dir: dir, Tool: &gotool.Tool{Root: "/opt/go"}, Dirs: gotool.Dirs{ModCache: filepath.Join(dir, "modcache")}}}
	ws := &Workspace{dir: filepath.Join(dir, "work", "1", "2")}
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
