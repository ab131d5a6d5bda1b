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

func TestWhatK6buildsClientsGetOfACatalog(t *testing.T) {
	const pseudo = "v1.0.1-0.20260102030405-0123456789ab"
	r := resolverOf(t, newModuleProxy(world), `{
		"k6": {"module": "go.k6.io/k6", "versions": ["v1.8.0", "v1.9.0-rc.1"]},
		"k6/x/pre": {"module": "example.com/xk6-pre"},
		"k6/x/listed": {"module": "example.com/xk6-listed", "versions": ["`+pseudo+`"]},
		"k6/x/hash": {"module": "example.com/xk6-listed", "versions": ["v0.0.0+0123456"]},
		"k6/x/retract": {"module": "example.com/xk6-retract", "versions": ["v1.2.0"]},
		"k6/x/moved": {"module": "example.com/xk6-moved", "versions": ["v1.0.0"]}
	}`, nil)
	rc := resolverOf(t, newModuleProxy(world), `{"k6": {"module": "go.k6.io/k6", "versions": ["v1.9.0-rc.1"]}}`, nil)
	for _, test := range []struct {
		r     *Resolver
		list  string
		major int
		want  string
	}{
		{rc, "k6", 1, "k6@v1.9.0-rc.1"},
		{rc, "k6@>=1.9", 1, "no version of k6 satisfies >=1.9"},
		{r, "k6", 1, "k6@v1.8.0"},
		{r, "k6/x/pre", 1, "k6@v1.8.0,k6/x/pre@v0.1.0-rc1"},
		{r, "k6/x/listed", 1, "k6@v1.8.0,k6/x/listed@" + pseudo},
		{r, "k6/x/listed@" + pseudo, 1, "k6@v1.8.0,k6/x/listed@" + pseudo},
		{r, "k6/x/hash", 1, "k6@v1.8.0,k6/x/hash@" + pseudo},
		{r, "k6/x/hash@v0.0.0+0123456", 1, "k6@v1.8.0,k6/x/hash@" + pseudo},
		{r, "k6/x/hash@" + pseudo, 1, "k6@v1.8.0,k6/x/hash@" + pseudo}, // its path, which the answer has
		{r, "k6/x/hash@v0.0.0+abcdef0", 1, "k6/x/hash@v0.0.0+abcdef0 names a commit, and only released versions are built here"},
		{r, "k6/x/moved@v0.0.0+0123456", 1, "k6/x/moved@v0.0.0+0123456 names a commit, and only released versions are built here"},
		{r, "k6@" + pseudo, 1, "k6@" + pseudo + " names a commit, and only released versions are built here"},
		{r, "k6/x/retract", 1, "k6/x/retract has no released version"},
		{r, "k6", 2, "go.k6.io/k6/v2 is not in the registry"},
		{r, "k6@v2.0.0", 2, "go.k6.io/k6/v2 is not in the registry"},
	} {
		res, err := test.r.ResolveMajor(t.Context(), parse(t, test.list), test.major)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = res.List().String()
		}
		if got != test.want {
			t.Errorf("%s, v%d: %s\nwant %s", test.list, test.major, got, test.want)
		}
	}
	for list, want := range map[string]string{
		"k6/x/pre":                        "not_found: k6/x/pre has no released version\n(There are v0.1.0-rc1.)", // on the path they have to be asked for
		"k6@v1.8.0,k6/x/listed@" + pseudo: "k6@v1.8.0,k6/x/listed@" + pseudo,
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s: %s, want %s", list, got, want)
		}
	}
	if r.Permit(parse(t, "k6@v1.8.0,k6/x/hash@"+pseudo)) != nil || r.Permit(parse(t, "k6@v1.8.0,k6/x/moved@"+pseudo)) == nil {
		t.Error("Permit does not go by the commits that are listed")
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
