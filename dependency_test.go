package k6x_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"k6x"
)

func ExampleParsePath() {
	platform, list, err := k6x.ParsePath("/linux/amd64/k6/x/redis@0.3.6,k6@1.8.1")
	fmt.Println(platform, list.Pinned(), err)
	fmt.Println(list.Path(platform))
	// Output:
	// linux/amd64 true <nil>
	// /linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6
}

func TestParseListGivesOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"k6":                                     "k6",
		"k6@latest":                              "k6",
		"k6@*":                                   "k6",
		"k6@1.8.1":                               "k6@v1.8.1",
		"k6@v1.8.1,k6@1.8.1":                     "k6@v1.8.1",
		"top@v1.0.0,k6/x/redis@v0.3.6,k6@v1.8.1": "k6@v1.8.1,k6/x/redis@v0.3.6,top@v1.0.0",
		"k6/x/redis@>=0.3,<1,k6":                 "k6,k6/x/redis@>=0.3,<1",
		"k6@>=1.0, 2.0,top":                      "k6@>=1.0,2.0,top",
		"k6@^1.8 || ~0.52":                       "k6@^1.8 || ~0.52",
		" k6 @ v1.8.1 , k6/x/redis ":             "k6@v1.8.1,k6/x/redis",
		"k6@1.8":                                 "k6@1.8",
		"subcommand:docs@v0.1.0,k6@v2.0.0":       "k6@v2.0.0,subcommand:docs@v0.1.0",
		"github.com/me/xk6-mine@v0.1.0,k6@v1.8.1": "k6@v1.8.1,github.com/me/xk6-mine@v0.1.0",
		"k6@>=1,4d63.com/xk6-x@v1.0.0":            "k6@>=1,4d63.com/xk6-x@v1.0.0",
		"k6@v1.8.1-rc.1":                          "k6@v1.8.1-rc.1",
		"k6@v2.0.0+incompatible":                  "k6@v2.0.0+incompatible",
		"k6@v0.0.0+3d2f5a1":                       "k6@v0.0.0+3d2f5a1",
	} {
		list, err := k6x.ParseList(in)
		if err != nil {
			t.Errorf("ParseList(%q): %v", in, err)
			continue
		}
		if got := list.String(); got != want {
			t.Errorf("ParseList(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseListRefusesWhatIsMalformed(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "empty item",
		",":                               "empty item",
		"k6,":                             "empty item",
		"k6@":                             "has an @ but no version",
		"@v1.0.0":                         "a dependency has no name",
		"k6@v1.8.1,k6@v1.8.0":             "k6 is given twice",
		"k6,k6@v1.8.0":                    "k6 is given twice",
		"k6@banana":                       `"banana" is neither a version nor a constraint`,
		"k6@v1.8.1@v1":                    "neither a version",
		"k6/x/../redis@v1.0.0":            "is not a name",
		"k6/x//redis@v1.0.0":              "is not a name",
		"k6/x/redis/@v1.0.0":              "is not a name",
		"k6/x@v1.0.0":                     "is not a name",
		"k6/redis@v1.0.0":                 "is not a name",
		"-rf@v1.0.0":                      "is not a name",
		"k6/x/a b@v1.0.0":                 "is not a name",
		"k6/x/a\x00b@v1.0.0":              "is not a name",
		"go@v1.26.8":                      "the name go is reserved",
		">=1.0":                           "is not a name",
		"k6,<1":                           "is not a name",
		strings.Repeat("a", 5000):         "longer than 4096",
		strings.Repeat("a", 300):          "longer than 200",
		strings.Repeat("a,", 64) + "b":    "more than 64 items",
		"k6@>" + strings.Repeat("1", 300): "longer than 200",
	} {
		list, err := k6x.ParseList(in)
		if err == nil || !strings.Contains(err.Error(), want) || k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("ParseList(%.60q) = %v, %v (%s), want an invalid error with %q", in, list, err, k6x.KindOf(err), want)
		}
	}
}

func TestPinnedNeedsK6AndExactVersions(t *testing.T) {
	for in, want := range map[string]bool{
		"k6@v1.8.1":                     true,
		"k6@1.8.1,k6/x/redis@v0.3.6":    true,
		"k6/x/redis@v0.3.6":             false,
		"k6@v1.8.1,k6/x/redis":          false,
		"k6@=v1.8.1":                    true,
		"k6@1.8":                        false,
		"k6@v1.8.1,k6/x/redis@>=0.3,<1": false,
	} {
		list, err := k6x.ParseList(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := list.Pinned(); got != want {
			t.Errorf("%q pinned: %v, want %v", in, got, want)
		}
	}
}

func TestConstraintAllows(t *testing.T) {
	for _, c := range []struct {
		constraint, version string
		want                bool
	}{
		{"*", "v1.8.1", true},
		{"*", "v1.9.0-rc.1", false},
		{"latest", "v2.0.0", true},
		{"v1.8.1", "v1.8.1", true},
		{"1.8.1", "v1.8.0", false},
		{"= v1.8.1", "v1.8.1", true},
		{"=1.9.0-rc.1", "v1.9.0-rc.1", true},
		{"^1.8", "v1.9.3", true},
		{"^1.8", "v2.0.0", false},
		{">=0.3,<1", "v0.3.6", true},
		{">=0.3,<1", "v1.0.0", false},
		{">=1.9.0-0", "v1.9.0-rc.1", true},
		{"1.8", "v1.8.7", true},
		{"~1.2.3 || >2", "v3.0.0", true},
		{">1", "not a version", false},
	} {
		constraint, err := k6x.ParseConstraint(c.constraint)
		if err != nil {
			t.Fatal(err)
		}
		if got := constraint.Allows(c.version); got != c.want {
			t.Errorf("%q allows %s: %v, want %v", c.constraint, c.version, got, c.want)
		}
	}
}

func TestWhatIsEqualToOneVersionIsThatVersion(t *testing.T) {
	for text, want := range map[string]string{"=1.8.1": "v1.8.1", "= v1.8.1": "v1.8.1", "=1.8": "", "= 1.8.1 || 1.9": ""} {
		c, err := k6x.ParseConstraint(text)
		if err != nil || c.Version() != want {
			t.Errorf("%q is the version %q, %v; want %q", text, c.Version(), err, want)
		}
	}
}

func TestParsePath(t *testing.T) {
	for in, want := range map[string]string{
		"/linux/amd64/k6@1.8.1":   "/linux/amd64/k6@v1.8.1",
		"//linux/amd64/k6@v1.8.1": "/linux/amd64/k6@v1.8.1",
		"/linux/amd64/k6@^1.8":    "/linux/amd64/k6@%5E1.8",
	} {
		platform, list, err := k6x.ParsePath(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := list.Path(platform); got != want {
			t.Errorf("%s gives %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]k6x.Kind{
		"":                         k6x.Invalid,
		"/":                        k6x.Invalid,
		"/linux/amd64":             k6x.Invalid,
		"/linux/amd64/":            k6x.Invalid,
		"/linux//k6":               k6x.NotFound,
		"/LINUX/AMD64/k6":          k6x.NotFound,
		"/linux/x86_64/k6@v1.8.1":  k6x.NotFound,
		"/linux/amd64/0,k6@1":      k6x.Invalid, // sorted it would be k6@1,0: a constraint
		"/../../etc/passwd@v1.0.0": k6x.NotFound,
	} {
		if _, _, err := k6x.ParsePath(in); k6x.KindOf(err) != want || err == nil {
			t.Errorf("%q: %v (%s), want %s", in, err, k6x.KindOf(err), want)
		}
	}
}

func TestUnknownPlatformGuessesTheNameThatGoUses(t *testing.T) {
	_, err := k6x.ParsePlatform("macOS/aarch64")
	if e := k6x.AsError(err); e.Hint != "Did you mean darwin/arm64?" {
		t.Errorf("hint %q", e.Hint)
	}
}

// What a client sends leads to one path, however it is written, and that path is stable.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6", "//linux/amd64/k6@%5E1.8", "/a/b/k6@>=1,<2,x.y/z@v1.0.0",
		"/linux/amd64/subcommand:docs,k6@1.2.x || >3", "/linux/amd64/k6@v0.0.0+abc,top@1.0.0-rc.1", "/l/a/k6@1,2,3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		platform, list, err := k6x.ParsePath(path)
		if err != nil {
			if kind := k6x.KindOf(err); kind != k6x.Invalid && kind != k6x.NotFound {
				t.Fatalf("%q: kind %s", path, kind)
			}
			return
		}
		canonical := list.Path(platform)
		u, err := url.Parse(canonical)
		if err != nil {
			t.Fatalf("%q gives %q, which is no URL: %v", path, canonical, err)
		}
		if strings.ContainsAny(canonical, " \\\x00") || strings.Contains(canonical, "/../") || len(canonical) > 4*len(path)+64 {
			t.Fatalf("%q gives the path %q", path, canonical)
		}
		platform2, list2, err := k6x.ParsePath(u.Path)
		if err != nil {
			t.Fatalf("%q gives %q, which does not parse: %v", path, canonical, err)
		}
		if again := list2.Path(platform2); again != canonical {
			t.Fatalf("%q gives %q gives %q", path, canonical, again)
		}
		if list.Pinned() != list2.Pinned() {
			t.Fatalf("%q: pinned changes", path)
		}
		if len(list) != len(list2) {
			t.Fatalf("%q has %d items, and %q has %d", path, len(list), canonical, len(list2))
		}
		for i, j := 0, len(list2)-1; i < j; i, j = i+1, j-1 {
			list2[i], list2[j] = list2[j], list2[i]
		}
		shuffled, err := k6x.NewList(list2...)
		if err != nil || shuffled.Path(platform) != canonical {
			t.Fatalf("%q: order matters: %v, %v", path, shuffled, err)
		}
	})
}

func FuzzConstraint(f *testing.F) {
	for _, s := range []string{"", "*", "latest", "v1.8.1", ">=0.3,<1", "^1.8 || ~2", "1.x - 2", "!=1.2.3", "1.2.3-rc.1+b"} {
		f.Add(s, "v1.8.1")
	}
	f.Fuzz(func(t *testing.T, text, version string) {
		c, err := k6x.ParseConstraint(text)
		if err != nil {
			return
		}
		again, err := k6x.ParseConstraint(c.String())
		if err != nil || again.String() != c.String() || again.Version() != c.Version() {
			t.Fatalf("%q prints as %q, which reads as %q, %v", text, c, again, err)
		}
		if c.Allows(version) != again.Allows(version) {
			t.Fatalf("%q and %q differ on %q", c, again, version)
		}
	})
}
