// Package testmod serves small module trees as a module proxy, so that tests run
// the real go command without a network.
package testmod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/goproxytest"
	"golang.org/x/mod/module"
)

// Serve serves the modules in dir until the test ends and returns the URL for
// GOPROXY. Each file of dir is one version of a module, a txtar archive named
// path_version.txtar with the slashes of the path written as underscores; its files
// are those of the module. GOSUMDB has to be off for them.
func Serve(t testing.TB, dir string) (url string) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	return goproxytest.NewTestServer(t, dir, "127.0.0.1:0").URL
}

// Bare is the text of a module go.k6.io/k6 for [ServeFiles], which needs least of the standard library: for tests that compile that, too.
const Bare = "-- cmd/cmd.go --\npackage cmd\n\nfunc Execute() {}\n"

// ServeFiles serves modules of some files each until the test ends: a txtar archive by path@version. What has no go.mod gets a
// plain one. With them are served the archives in files, as [Serve] has them.
func ServeFiles(t testing.TB, modules map[string]string, files ...string) (url string) {
	t.Helper()
	dir := t.TempDir()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for item, text := range modules {
		path, version, _ := strings.Cut(item, "@")
		escaped, err := module.EscapePath(path)
		if err != nil {
			t.Fatal(err)
		}
		goMod := "module " + path + "\n\ngo 1.21\n"
		if own, ok := strings.CutPrefix(text, "-- go.mod --\n"); ok {
			first := strings.Index(own, "-- ")
			goMod, text = own[:first], own[first:]
		}
		archive := "-- .mod --\n" + goMod + "-- .info --\n{\"Version\":\"" + version + "\"}\n-- go.mod --\n" + goMod + text
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(escaped, "/", "_")+"_"+version+".txtar"), []byte(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Serve(t, dir)
}
