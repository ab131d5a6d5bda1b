package binaries

import (
	"os"
	"path/filepath"
	"testing"

	"k6x"
)

func TestTheBestBinaryIsFound(t *testing.T) {
	d := newDir(t, Config{})
	if b, ok := d.Find(t.Context(), linux, list(t, "k6")); ok {
		t.Fatalf("found %+v where there is nothing", b)
	}
	for _, pinned := range []string{
		"k6@v1.8.1",
		"k6@v1.8.1,k6/x/redis@v0.3.6",
		"k6@v1.10.0,k6/x/redis@v0.3.5",
		"k6@v1.10.0,k6/x/redis@v0.3.5,k6/x/faker@v0.4.0",
		"k6@v1.10.0,k6/x/faker@v0.3.0,top@v0.1.0",
		"k6@v2.0.0-rc.1,k6/x/faker@v0.4.1",
	} {
		mustAdd(t, d, pinned, pinned)
	}
	windows := metaOf(t, k6x.Platform{OS: "windows", Arch: "amd64"}, "k6@v1.99.0")
	if _, err := d.Add(t.Context(), windows, write("for windows")); err != nil {
		t.Fatal(err)
	}
	for needs, want := range map[string]string{
		"k6":                              "k6@v1.8.1",
		"k6/x/redis":                      "k6@v1.10.0,k6/x/redis@v0.3.5",
		"k6@<1.10,k6/x/redis":             "k6@v1.8.1,k6/x/redis@v0.3.6",
		"k6/x/redis@>=0.3.6":              "k6@v1.8.1,k6/x/redis@v0.3.6",
		"k6/x/redis@v0.3.6":               "k6@v1.8.1,k6/x/redis@v0.3.6",
		"k6/x/faker,k6/x/redis":           "k6@v1.10.0,k6/x/faker@v0.4.0,k6/x/redis@v0.3.5",
		"k6@>=2.0.0-0,k6/x/faker":         "k6@v2.0.0-rc.1,k6/x/faker@v0.4.1",
		"k6/x/faker":                      "", // others have more
		"k6@>=1.10":                       "", // they have, too
		"k6@>=1.11":                       "",
		"k6/x/redis,top":                  "",
		"k6/x/kafka":                      "",
		"k6@v1.8.1,k6/x/redis@>=0.3,<0.4": "k6@v1.8.1,k6/x/redis@v0.3.6",
	} {
		b, ok := d.Find(t.Context(), linux, list(t, needs))
		if ok != (want != "") || ok && b.List().String() != want {
			t.Errorf("%s: found %v %s, want %s", needs, ok, b.List(), want)
		}
	}
	if b, ok := d.Find(t.Context(), linux, nil); !ok || b.List().String() != "k6@v1.8.1" {
		t.Errorf("nothing: found %v %s", ok, b.List())
	}
	noTop := func(b Binary) bool { return b.Versions["top"] == "" }
	for needs, want := range map[string]string{
		"k6":                    "k6@v1.10.0,k6/x/faker@v0.4.0,k6/x/redis@v0.3.5", // used last of those with that k6
		"k6/x/faker":            "k6@v1.10.0,k6/x/faker@v0.4.0,k6/x/redis@v0.3.5",
		"k6@<1.10":              "k6@v1.8.1,k6/x/redis@v0.3.6",
		"k6/x/faker@<0.4":       "", // may not be used
		"k6/x/faker,k6/x/redis": "k6@v1.10.0,k6/x/faker@v0.4.0,k6/x/redis@v0.3.5",
	} {
		b, ok := d.FindAny(t.Context(), linux, list(t, needs), noTop)
		if ok != (want != "") || ok && b.List().String() != want {
			t.Errorf("%s and more: found %v %s, want %s", needs, ok, b.List(), want)
		}
	}
}

func TestABinaryThatDoesNotStartIsTheLastChoice(t *testing.T) {
	d := newDir(t, Config{})
	mustAdd(t, d, "k6@v1.8.1,k6/x/redis@v0.3.5", "older")
	if err := d.NoteFailure(mustAdd(t, d, "k6@v1.8.1,k6/x/redis@v0.3.6", "newer")); err != nil {
		t.Fatal(err)
	}
	for needs, want := range map[string]string{"k6/x/redis": "older", "k6/x/redis@v0.3.6": "newer"} {
		b, ok := d.Find(t.Context(), linux, list(t, needs))
		if !ok || b.Fails != (want == "newer") {
			t.Errorf("%s: found %v %s", needs, ok, b.List())
			continue
		}
		mustUse(t, d, b)()
		wantBody(t, b, want)
	}
}

func TestWhereBinariesAreKept(t *testing.T) {
	project, empty, file := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(project, ".k6x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(file, ".k6x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		place  Config
		dir    string
		sealed bool
	}{
		{At("", empty, "/c"), filepath.Join("/c", "bin"), false},
		{At("", file, "/c"), filepath.Join("/c", "bin"), false},
		{At("", project, "/c"), filepath.Join(project, ".k6x"), true},
		{At("/b", project, "/c"), "/b", false},
		{At("./.k6x/", project, "/c"), filepath.Join(project, ".k6x"), true},
	} {
		if c.place.Dir != c.dir || (c.place.Secret != "") != c.sealed {
			t.Errorf("%+v, want %s", c.place, c.dir)
		}
	}
}

// A .k6x that somebody else filled, as it may come with a project, is not run from.
func TestOnlyWhatThisUserAddedIsUsed(t *testing.T) {
	cache, project := t.TempDir(), filepath.Join(t.TempDir(), ".k6x")
	secret := filepath.Join(cache, "k6x", "secret")
	theirs := newDir(t, Config{Dir: project, Secret: filepath.Join(t.TempDir(), "secret")})
	planted := mustAdd(t, theirs, "k6@v1.8.1", "evil")
	unsealed := newDir(t, Config{Dir: project})
	mustAdd(t, unsealed, "k6@v1.9.0", "evil, too")

	ours := newDir(t, Config{Dir: project, Secret: secret})
	if b, ok := ours.Find(t.Context(), linux, list(t, "k6")); ok {
		t.Errorf("found %s", b.Path)
	}
	if _, err := ours.Use(t.Context(), planted); err == nil {
		t.Error("used")
	}
	good := mustAdd(t, ours, "k6@v1.8.1", "good")
	wantBody(t, good, "good")
	again := newDir(t, Config{Dir: project, Secret: secret})
	b, ok := again.Find(t.Context(), linux, list(t, "k6"))
	if !ok || b.Path != good.Path {
		t.Errorf("%v, %+v", ok, b)
	}
	mustUse(t, again, b)()
	if info, err := os.Stat(secret); err != nil || os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(secret, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Binaries(t.Context()); k6x.KindOf(err) != k6x.Internal || k6x.AsError(err).Hint == "" {
		t.Error(err)
	}
}

// Links in a directory that came with a project do not lead to files of the user's.
func TestNothingIsRemovedBehindALink(t *testing.T) {
	for _, link := range []string{".work", filepath.Join(".work", "tmp")} {
		home := t.TempDir()
		for _, name := range []string{"letters", filepath.Join("tmp", "letters")} {
			if err := os.MkdirAll(filepath.Join(home, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		d := newDir(t, Config{})
		name := filepath.Join(d.Path(), link)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(home, name); err != nil {
			t.Skip(err)
		}
		if _, err := d.Add(t.Context(), metaOf(t, linux, "k6@v1.8.1"), never(t)); err == nil {
			t.Errorf("%s: added", link)
		}
		if _, err := d.Clear(t.Context()); err == nil {
			t.Errorf("%s: cleared", link)
		}
		for _, name := range []string{"letters", filepath.Join("tmp", "letters")} {
			if _, err := os.Stat(filepath.Join(home, name)); err != nil {
				t.Errorf("%s: %v", link, err)
			}
		}
	}
	d := newDir(t, Config{})
	b := mustAdd(t, d, "k6@v1.8.1", "binary")
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(filepath.Dir(b.Path), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Dir(b.Path)); err != nil {
		t.Fatal(err)
	}
	if done, err := d.Clear(t.Context()); err != nil || done.Removed != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "k6")); err != nil {
		t.Error(err)
	}
}

func TestTheNearestBinaryIsTheOneWithMostInCommon(t *testing.T) {
	d := newDir(t, Config{})
	if b, ok := d.Nearest(t.Context(), linux, list(t, "k6@v1.8.1")); ok {
		t.Fatalf("found %+v where there is nothing", b)
	}
	for _, pinned := range []string{
		"k6@v1.8.1", "k6@v1.8.1,k6/x/redis@v0.3.6", "k6@v1.9.0,k6/x/faker@v0.4.0,k6/x/redis@v0.3.6,top@v0.1.0", "k6@v1.9.0",
	} {
		mustAdd(t, d, pinned, pinned)
	}
	for pinned, want := range map[string]string{
		"k6@v1.8.1,k6/x/redis@v0.3.6":                              "k6@v1.8.1,k6/x/redis@v0.3.6",
		"k6@v1.8.1,k6/x/faker@v0.4.0,k6/x/redis@v0.3.6,top@v0.1.0": "k6@v1.8.1,k6/x/redis@v0.3.6", // the same k6 counts most
		"k6@v1.9.0,k6/x/redis@v0.3.6":                              "k6@v1.9.0,k6/x/faker@v0.4.0,k6/x/redis@v0.3.6,top@v0.1.0",
		"k6@v2.0.0,k6/x/redis@v0.3.5":                              "", // nothing in common
		"k6@v2.0.0,k6/x/faker@v0.4.0":                              "k6@v1.9.0,k6/x/faker@v0.4.0,k6/x/redis@v0.3.6,top@v0.1.0",
	} {
		b, ok := d.Nearest(t.Context(), linux, list(t, pinned))
		if ok != (want != "") || ok && b.List().String() != want {
			t.Errorf("%s: found %v %s, want %s", pinned, ok, b.List(), want)
		}
	}
	if b, ok := d.Nearest(t.Context(), k6x.Platform{OS: "windows", Arch: "amd64"}, list(t, "k6@v1.8.1")); ok {
		t.Errorf("found %s for another platform", b.List())
	}
}
