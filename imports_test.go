package k6x_test

import (
	"os/exec"
	"strings"
	"testing"
)

// allowed says which packages of ours a package may import (ARCHITECTURE.md); an entry covers
// the packages below it.
var allowed = map[string][]string{
	"k6x":            {},
	"k6x/gotool":     {"k6x", "k6x/internal/cage", "k6x/internal/egress"},
	"k6x/resolver":   {"k6x", "k6x/internal/cage", "k6x/internal/disk", "k6x/internal/egress", "k6x/internal/gomod", "k6x/internal/web"},
	"k6x/cache":      {"k6x", "k6x/cache", "k6x/internal/disk"},
	"k6x/buildcache": {"k6x", "k6x/buildcache", "k6x/cache", "k6x/internal/cage", "k6x/internal/disk"},
	"k6x/event":      {"k6x", "k6x/event"},
	"k6x/history":    {"k6x", "k6x/cache", "k6x/event"},
	"k6x/builder":    {"k6x", "k6x/builder", "k6x/event", "k6x/cache", "k6x/gotool", "k6x/internal/cage", "k6x/internal/disk", "k6x/internal/egress", "k6x/internal/gomod"},
	"k6x/client":     {"k6x", "k6x/internal/difference", "k6x/internal/disk"},
	"k6x/launcher":   {"k6x", "k6x/client", "k6x/launcher", "k6x/resolver", "k6x/builder", "k6x/event", "k6x/cache", "k6x/internal/disk", "k6x/internal/web"},
	"k6x/watch":      {"k6x", "k6x/cache", "k6x/history", "k6x/resolver"},
	"k6x/webhook":    {"k6x", "k6x/cache", "k6x/history", "k6x/internal/web"},
	"k6x/service":    {"k6x", "k6x/builder", "k6x/event", "k6x/history", "k6x/cache", "k6x/resolver", "k6x/service", "k6x/internal/difference", "k6x/internal/disk"},
	"k6x/cmd":        {"k6x", "k6x/client", "k6x/launcher", "k6x/cmd/internal", "k6x/builder", "k6x/event", "k6x/history", "k6x/buildcache", "k6x/cache", "k6x/resolver", "k6x/gotool", "k6x/service", "k6x/watch", "k6x/webhook", "k6x/internal/cage", "k6x/internal/disk", "k6x/internal/egress", "k6x/internal/web"},
	"k6x/bench":      {"k6x", "k6x/cache", "k6x/history", "k6x/resolver", "k6x/internal/warmcache"},
	"k6x/e2e":        {},
	"k6x/internal":   {"k6x", "k6x/cache", "k6x/internal"},
}

// Siblings do not import siblings.
func TestImportsFollowTheArchitecture(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		rules, ok := allowed[top(words[0])]
		if !ok {
			t.Errorf("%s is not in the table of packages", words[0])
		}
		for _, imported := range words[1:] {
			if imported != "k6x" && !strings.HasPrefix(imported, "k6x/") {
				continue
			}
			fine := false
			for _, rule := range rules {
				fine = fine || imported == rule || rule != "k6x" && strings.HasPrefix(imported, rule+"/")
			}
			if !fine {
				t.Errorf("%s imports %s", words[0], imported)
			}
		}
	}
}

// top returns the first two elements of an import path of ours.
func top(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}
