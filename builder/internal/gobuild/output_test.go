package gobuild

import "testing"

func TestCleanLeavesNothingOfTheMachine(t *testing.T) {
	for in, want := range map[string]string{
		"/d/modcache/github.com/!burnt!sushi/toml@v1.0.0/a.go:1:2: no": "github.com/BurntSushi/toml@v1.0.0/a.go:1:2: no",
		"../../modcache/example.com/x@v1.0.0/a.go:1:2: no":             "example.com/x@v1.0.0/a.go:1:2: no",
		"/d/work/main.go:1: no":                                        "main.go:1: no",
		"/opt/go/src/fmt/print.go:1: no":                               "GOROOT/src/fmt/print.go:1: no",
		"reading https://user:secret@proxy.example/a: 403":             "reading https://proxy.example/a: 403",
		"go: downloading a v1.0.0\nerror\ngo: downloading b v1.0.0\n":  "error\n",
		"\x1b[31mred\x1b[0m\tand\x00 \xff":                             "[31mred[0m\tand ?",
	} {
		if got := Clean(in, "../../modcache/", "", "/d/modcache/", "", "/d/work/", "", "/opt/go/", "GOROOT/"); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
