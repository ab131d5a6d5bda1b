// Package testmod serves small module trees as a module proxy, so that tests run
// the real go command without a network.
package testmod

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/goproxytest"
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
