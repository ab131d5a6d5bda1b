//go:build unix

package gotool

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestInstallationIsNoMoreThanThatOfTheProgram(t *testing.T) {
	root := t.TempDir()
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(root, "home", "me")
	t.Setenv("HOME", home)
	for name, want := range map[string]string{
		"opt/zig/zig":      "opt/zig",
		"opt/cross/bin/cc": "opt/cross",
		"home/me/bin/cc":   "home/me/bin/cc",
		"home/me/cc":       "home/me/cc",
		"home/cc":          "home/cc",
		"home/me/sdk/cc":   "home/me/sdk",

		"home/me/.local/bin/git": "home/me/.local/bin/git",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if got := installation(path); got != filepath.Join(root, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, path := range []string{"/usr/bin/none", "/bin/none", "/usr/local/bin/none"} {
		if got := installation(path); got != path {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// What a step may reach is in its policy, and a file that a setting names is read only where modules are fetched.
func TestPoliciesHaveWhatSettingsName(t *testing.T) {
	tool := &Tool{Path: "/goroot/bin/go", Root: "/goroot", Fetch: []string{"NETRC=/secret/netrc", "GOPROXY=file:///mirror,https://proxy.example", "SSL_CERT_FILE=relative"}}
	dirs := Dirs{Home: "/k6x/home", ModCache: "/k6x/modcache", Cache: "/k6x/gocache", Temp: "/k6x/work/1/tmp"}
	compile, fetch := tool.CompilePolicy(dirs, "/k6x/work/1"), tool.FetchPolicy(dirs, "/k6x/work/1")
	if !slices.Equal(compile.Write, []string{"/k6x/work/1", "/k6x/gocache"}) || compile.Network != 0 || slices.Contains(compile.Read, "/secret/netrc") {
		t.Errorf("%+v", compile)
	}
	for _, path := range []string{"/secret/netrc", "/mirror"} {
		if !slices.Contains(fetch.Read, path) {
			t.Errorf("%s is not among %q", path, fetch.Read)
		}
	}
	if slices.Contains(fetch.Read, "relative") {
		t.Errorf("%q", fetch.Read)
	}
}
