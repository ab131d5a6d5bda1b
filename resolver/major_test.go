package resolver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k6x"
)

func TestResolveMajorStaysOnOneMajorVersion(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), worldRegistry, nil)
	for _, test := range []struct {
		list  string
		major int
		want  string
	}{
		{"k6", 1, "k6@v1.8.0"},
		{"k6", 2, "k6@v2.0.0"},
		{"k6/x/any", 2, "k6@v2.0.0,k6/x/any@v1.0.0"},
		{"k6@v1.0.0", 1, "k6@v1.0.0"},
		{"k6@v0.50.0", 1, "k6@v0.50.0"},
	} {
		res, err := r.ResolveMajor(t.Context(), parse(t, test.list), test.major)
		if err != nil || res.List().String() != test.want {
			t.Errorf("%s, v%d: %v, %v, want %s", test.list, test.major, res.List(), err, test.want)
		}
	}
	for _, test := range []struct {
		list  string
		major int
		kind  k6x.Kind
		hint  string
	}{
		{"k6@>=2", 1, k6x.NotFound, "With go.k6.io/k6/v2 this works: k6@v2.0.0."},
		{"k6@v2.0.0", 1, k6x.Conflict, "module path"},
		{"k6/x/two", 1, k6x.Conflict, "With go.k6.io/k6/v2 this works: k6@v2.0.0,k6/x/two@v1.0.0."},
		{"k6", 3, k6x.NotFound, ""},
	} {
		_, err := r.ResolveMajor(t.Context(), parse(t, test.list), test.major)
		if e := k6x.AsError(err); err == nil || e.Kind != test.kind || !strings.Contains(e.Hint, test.hint) {
			t.Errorf("%s, v%d: %v (%s)", test.list, test.major, err, e.Hint)
		}
	}
}

func TestAnExtensionOfAnotherMajorVersionIsNotCalledUnknown(t *testing.T) {
	first := write(t, "v1.json", `[{"module": "go.k6.io/k6", "imports": ["k6"]}, {"module": "example.com/xk6-any", "imports": ["k6/x/any"]}]`)
	r := resolverOf(t, newModuleProxy(world), `[{"module": "go.k6.io/k6/v2", "imports": ["k6"]}, {"module": "example.com/xk6-two", "imports": ["k6/x/two"]}]`,
		func(c *Config) { c.Registries = append(c.Registries, first) })
	_, err := r.ResolveMajor(t.Context(), parse(t, "k6/x/two"), 1)
	if err == nil || !strings.Contains(err.Error(), "k6/x/two is not registered for k6 v1") {
		t.Error(err)
	}
}

func TestWarningsAreOfTheVersionsAtHand(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), `[
		{"module": "go.k6.io/k6", "imports": ["k6"], "compliance": {"v1.0.0": {"issues": ["vulnerability"]}}},
		{"module": "example.com/xk6-any", "imports": ["k6/x/any"], "repo": {"archived": true}, "compliance": {"v1.0.0": {"issues": []}}},
		{"module": "example.com/xk6-new", "imports": ["k6/x/new"], "compliance": {"v0.2.0": {"issues": ["replace", "smoke", 7, "smoke"]}, "v0.3.0": "odd"}}
	]`, nil)
	modules := func(k6, ext string) []k6x.Module {
		return []k6x.Module{
			{Path: "go.k6.io/k6", Version: k6, Names: []string{"k6"}},
			{Path: "example.com/xk6-any", Version: "v1.0.0", Names: []string{"k6/x/any"}},
			{Path: "example.com/xk6-new", Version: ext, Names: []string{"k6/x/new"}},
		}
	}
	archived := "example.com/xk6-any@v1.0.0: its repository is archived"
	want := []string{"go.k6.io/k6@v1.0.0: the registry reports vulnerability", archived,
		"example.com/xk6-new@v0.2.0: the registry reports replace, smoke"}
	if diff := cmp.Diff(want, r.Warnings(modules("v1.0.0", "v0.2.0"))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{archived}, r.Warnings(modules("v1.8.0", "v0.3.0"))); diff != "" {
		t.Error(diff)
	}
}
