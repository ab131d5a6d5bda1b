package k6x_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"k6x/internal/warmcache"
)

// A service that has nothing at hand builds the real k6. This package is the first that go test runs, so that the minutes
// it takes are not those of the end-to-end tests, which start from what was compiled here.
func TestServiceBuildsTheRealK6FromNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short leaves out all that builds the real k6")
	}
	program := filepath.Join(t.TempDir(), "k6x")
	if out, err := exec.Command("go", "build", "-o", program, "k6x/cmd/k6x").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := warmcache.EnsureK6(program); err != nil {
		t.Fatal(err)
	}
}
