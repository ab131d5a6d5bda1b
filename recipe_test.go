package k6x_test

import (
	"testing"

	"k6x"
)

func recipe() k6x.Recipe {
	return k6x.NewRecipe(k6x.Platform{OS: "linux", Arch: "amd64"}, []k6x.Module{
		{Path: "go.k6.io/k6", Version: "v1.8.1", Names: []string{"k6"}},
		{Path: "github.com/grafana/xk6-sql", Version: "v1.0.0", Names: []string{"k6/x/sql"}},
		{Path: "github.com/grafana/xk6-redis", Version: "v0.3.6", Names: []string{"k6/x/redis"}},
	}, false, k6x.Settings{Toolchain: "go1.26.8", Flags: []string{"-trimpath"}, Layout: 1})
}

func TestRecipePathNamesWhatWasAskedFor(t *testing.T) {
	if got, want := recipe().Path(), "/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6,k6/x/sql@v1.0.0"; got != want {
		t.Errorf("path %s, want %s", got, want)
	}
}

// The key is part of every store: when this test fails, all that was ever stored is
// lost to its users.
func TestRecipeKeyNeverChanges(t *testing.T) {
	if got, want := recipe().Key(), "1c94139fa41cf5feb33e9a31846206af8af27c8d63391a4f9c5030d50b68a9aa"; got != want {
		t.Errorf("key %s, want %s", got, want)
	}
}

func TestRecipeKeyCoversAllThatChangesBytes(t *testing.T) {
	base := recipe().Key()
	for name, change := range map[string]func(*k6x.Recipe){
		"os":                func(r *k6x.Recipe) { r.Platform.OS = "darwin" },
		"arch":              func(r *k6x.Recipe) { r.Platform.Arch = "arm64" },
		"k6 version":        func(r *k6x.Recipe) { r.K6.Version = "v1.8.0" },
		"k6 module":         func(r *k6x.Recipe) { r.K6.Path = "go.k6.io/k6/v2" },
		"extension version": func(r *k6x.Recipe) { r.Extensions[0].Version = "v0.3.5" },
		"extension module":  func(r *k6x.Recipe) { r.Extensions[0].Path = "github.com/me/xk6-redis" },
		"fewer extensions":  func(r *k6x.Recipe) { r.Extensions = r.Extensions[:1] },
		"toolchain":         func(r *k6x.Recipe) { r.Toolchain = "go1.26.9" },
		"flags":             func(r *k6x.Recipe) { r.Flags = nil },
		"environment":       func(r *k6x.Recipe) { r.Env = []string{"GOAMD64=v3"} },
		"cgo":               func(r *k6x.Recipe) { r.Cgo = true },
		"layout":            func(r *k6x.Recipe) { r.Layout = 2 },
	} {
		r := recipe()
		change(&r)
		if r.Key() == base {
			t.Errorf("another %s has the same key", name)
		}
	}
	r := recipe()
	r.Extensions[0].Names = []string{"k6/x/other"}
	if r.Key() != base {
		t.Error("the name that a module was asked for by changes the key, but not the bytes")
	}
	// Fields cannot run into each other.
	a, b := recipe(), recipe()
	a.Flags, b.Flags = []string{"a", "b"}, []string{"a b"}
	if a.Key() == b.Key() {
		t.Error("two flags and one flag with a space have the same key")
	}
}

func TestCheckKey(t *testing.T) {
	if err := k6x.CheckKey(recipe().Key()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "abc", "../../../etc/passwd", recipe().Key()[:63] + "G", recipe().Key() + "0"} {
		if err := k6x.CheckKey(bad); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
