package native

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"k6x/internal/testmod"
)

// A go build without a network that lacks a module looks for its packages in the whole module graph, and leaves a go.mod by which
// they are found in modules that are not needed.
func TestModuleThatIsMissingChangesNoVersion(t *testing.T) {
	proxy := testmod.ServeFiles(t, map[string]string{
		"example.com/xk6-split@v0.1.0": "-- go.mod --\nmodule example.com/xk6-split\n\ngo 1.21\n\nrequire (\n\texample.com/big/part v1.0.0\n\texample.com/old v1.0.0\n)\n" +
			"-- x.go --\npackage split\n\nimport (\n\t_ \"example.com/big/part\"\n\t_ \"example.com/old\"\n)\n",
		"example.com/old@v1.0.0":      "-- go.mod --\nmodule example.com/old\n\ngo 1.21\n\nrequire example.com/big v0.1.0\n-- x.go --\npackage old\n",
		"example.com/big@v0.1.0":      "-- part/x.go --\npackage part\n",
		"example.com/big/part@v1.0.0": "-- x.go --\npackage part\n",
	}, "../../testdata/standin/go.k6.io_k6_v1.0.0.txtar")
	tool := standinTool(t, proxy)
	complete := newEngine(t, Config{Tool: tool, Dir: warmDir(t)})
	want, _ := build(t, complete, complete.recipe("v1.0.0", "split@v0.1.0"), nil)

	pins := []string{"go.k6.io/k6@v1.0.0", "example.com/xk6-split@v0.1.0"}
	for _, modules := range [][]string{pins, append(pins, "example.com/old@v1.0.0"), append(pins, "example.com/old@v1.0.0", "example.com/big@v0.1.0")} {
		partial := newEngine(t, Config{Tool: tool, Dir: warmDir(t)})
		download := exec.Command(tool.Path, append([]string{"mod", "download"}, modules...)...)
		download.Dir = t.TempDir()
		download.Env = append(os.Environ(), "GOPROXY="+proxy, "GOSUMDB=off", "GOFLAGS=", "GOMODCACHE="+partial.Dirs.ModCache)
		if out, err := download.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, _ := build(t, partial, partial.recipe("v1.0.0", "split@v0.1.0"), nil); !bytes.Equal(got, want) {
			t.Errorf("other bytes if there are %s", modules)
		}
	}
}

func TestModuleThatIsMissingChangesNoReplacement(t *testing.T) {
	e := newEngine(t, Config{Dir: warmDir(t)})
	build(t, e, e.recipe("v1.0.0"), nil) // k6 is there, and nothing of what it is built with below
	dir := extension(t, "example.com/xk6-mine", "k6/x/mine", "v1.0.0\nrequire example.com/greeting v1.0.0",
		"greet.go", "package ext\n\nimport _ \"example.com/greeting\"\n")
	says, _ := replace(t, e, e.mine("v1.0.0", "example.com/xk6-mine"), Replacement{Path: "example.com/xk6-mine", Dir: dir})
	if !strings.Contains(says, "k6/x/mine") {
		t.Errorf("it says %s", says)
	}
}
