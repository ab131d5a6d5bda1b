package resolver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k6x"
)

// world has a k6 in two major versions and extensions with all sorts of needs.
var world = universe{
	"go.k6.io/k6@v0.50.0":        "go 1.20\n",
	"go.k6.io/k6@v1.0.0":         "go 1.24\n",
	"go.k6.io/k6@v1.8.0":         "go 1.24\nrequire example.com/xk6-builtin v0.4.0\n",
	"go.k6.io/k6@v1.9.0-rc.1":    "go 1.24\n",
	"go.k6.io/k6/v2@v2.0.0":      "go 1.25\n",
	"example.com/xk6-any@v1.0.0": "go 1.24\n",

	"example.com/xk6-new@v0.1.0": "go 1.24\nrequire go.k6.io/k6 v0.50.0\n",
	"example.com/xk6-new@v0.2.0": "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-new@v0.3.0": "go 1.24\nrequire go.k6.io/k6 v1.8.0\n",

	"example.com/xk6-builtin@v0.3.0": "go 1.24\nrequire go.k6.io/k6 v0.50.0\n",
	"example.com/xk6-builtin@v0.4.0": "go 1.24\nrequire go.k6.io/k6 v0.50.0\n",

	"example.com/xk6-two@v1.0.0": "go 1.24\nrequire go.k6.io/k6/v2 v2.0.0\n",

	"example.com/xk6-future@v1.0.0": "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-future@v1.1.0": "go 1.99\nrequire go.k6.io/k6 v1.0.0\n",

	"example.com/xk6-retract@v1.0.0":      "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-retract@v1.1.0":      "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-retract@v1.2.0":      "go 1.24\nrequire go.k6.io/k6 v1.0.0\nretract [v1.1.0, v1.2.0]\n",
	"example.com/xk6-retract@v1.3.0-beta": "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",

	"example.com/xk6-base@v1.0.0": "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-base@v1.1.0": "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-atop@v1.0.0": "go 1.24\nrequire (\n\tgo.k6.io/k6 v1.0.0\n\texample.com/xk6-base v1.1.0\n)\n",

	"example.com/xk6-cgo@v1.0.0":                                  "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-listed@v1.0.0":                               "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-listed@v1.1.0":                               "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-narrow@v1.0.0":                               "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-narrow@v2.0.0+incompatible":                  "",
	"example.com/xk6-pre@v0.1.0-rc1":                              "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-moved@v1.0.0":                                "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"example.com/xk6-listed@v1.0.1-0.20260102030405-0123456789ab": "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"github.com/me/xk6-mine@v0.1.0":                               "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
	"github.com/me/xk6-mine@v0.1.1-0.20260102030405-0123456789ab": "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
}

const worldRegistry = `[
	{"module": "example.com/xk6-any", "imports": ["k6/x/any"]},
	{"module": "example.com/xk6-new", "imports": ["k6/x/new", "k6/x/new/more"], "tier": "official"},
	{"module": "example.com/xk6-builtin", "imports": ["k6/x/builtin"], "tier": "official"},
	{"module": "example.com/xk6-two", "imports": ["k6/x/two"]},
	{"module": "example.com/xk6-future", "imports": ["k6/x/future"]},
	{"module": "example.com/xk6-retract", "imports": ["k6/x/retract"]},
	{"module": "example.com/xk6-base", "imports": ["k6/x/base"]},
	{"module": "example.com/xk6-atop", "outputs": ["atop"]},
	{"module": "example.com/xk6-cgo", "subcommands": ["native"], "cgo": true},
	{"module": "example.com/xk6-listed", "imports": ["k6/x/listed"], "versions": ["v1.0.0"]},
	{"module": "example.com/xk6-narrow", "imports": ["k6/x/narrow"], "constraints": "<v2"},
	{"module": "example.com/xk6-pre", "imports": ["k6/x/pre"]},
	{"module": "example.com/xk6-gone", "imports": ["k6/x/gone"]}
]`

func TestResolve(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), worldRegistry, nil)
	for _, test := range []struct{ name, list, want string }{
		{"k6 alone is the newest major", "k6", "k6@v2.0.0"},
		{"an extension that names no k6 goes with v1", "k6/x/any", "k6@v1.8.0,k6/x/any@v1.0.0"},
		{"unless another needs v2", "k6/x/any,k6/x/two", "k6@v2.0.0,k6/x/any@v1.0.0,k6/x/two@v1.0.0"},
		{"or the list says v2", "k6@>=2,k6/x/any", "k6@v2.0.0,k6/x/any@v1.0.0"},
		{"the newest major that the extension supports", "k6/x/new", "k6@v1.8.0,k6/x/new@v0.3.0"},
		{"a constraint may choose the major", "k6@^1,k6/x/any", "k6@v1.8.0,k6/x/any@v1.0.0"},
		{"k6 v2 only", "k6/x/two,k6", "k6@v2.0.0,k6/x/two@v1.0.0"},
		{"a pinned k6 lowers the extension", "k6@v1.0.0,k6/x/new", "k6@v1.0.0,k6/x/new@v0.2.0"},
		{"a pinned extension lowers k6", "k6/x/builtin@v0.3.0", "k6@v1.0.0,k6/x/builtin@v0.3.0"},
		{"an extension atop of another", "atop,k6/x/base", "k6@v1.8.0,atop@v1.0.0,k6/x/base@v1.1.0"},
		{"all pinned", "k6@v1.8.0,k6/x/builtin@v0.4.0", "k6@v1.8.0,k6/x/builtin@v0.4.0"},
		{"two names of a module", "k6/x/new/more,k6/x/new@<0.3", "k6@v1.8.0,k6/x/new@v0.2.0,k6/x/new/more@v0.2.0"},
		{"a go line that is too new is passed over", "k6/x/future", "k6@v1.8.0,k6/x/future@v1.0.0"},
		{"retracted versions are passed over", "k6/x/retract", "k6@v1.8.0,k6/x/retract@v1.0.0"},
		{"a retracted version that is asked for", "k6/x/retract@v1.1.0", "k6@v1.8.0,k6/x/retract@v1.1.0"},
		{"a pre-release that is asked for", "k6/x/retract@>=1.3.0-0", "k6@v1.8.0,k6/x/retract@v1.3.0-beta"},
		{"a pre-release of k6 that is asked for", "k6@v1.9.0-rc.1", "k6@v1.9.0-rc.1"},
		{"versions that the registry lists", "k6/x/listed", "k6@v1.8.0,k6/x/listed@v1.0.0"},
		{"versions that the registry narrows", "k6/x/narrow", "k6@v1.8.0,k6/x/narrow@v1.0.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := answer(t, r, test.list); got != test.want {
				t.Errorf("%s\n got %s\nwant %s", test.list, got, test.want)
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), worldRegistry, nil)
	for _, test := range []struct{ name, list, want string }{
		{"what would do is retracted", "k6/x/retract@>=1.1",
			"not_found: no version of k6/x/retract satisfies >=1.1 and is not retracted\n(There are v1.3.0-beta, v1.0.0.)"},
		{"the extension needs a newer k6", "k6@v1.0.0,k6/x/new@v0.3.0",
			"conflict: k6/x/new v0.3.0 needs k6 v1.8.0 or newer, but the request says k6@v1.0.0\n" +
				"(What works: k6@v1.8.0,k6/x/new@v0.3.0 or k6@v1.0.0,k6/x/new@v0.2.0)"},
		{"k6 needs a newer extension", "k6@v1.8.0,k6/x/builtin@v0.3.0",
			"conflict: k6 v1.8.0 needs k6/x/builtin v0.4.0 or newer, but the request says k6/x/builtin@v0.3.0\n" +
				"(What works: k6@v1.8.0,k6/x/builtin@v0.4.0 or k6@v1.0.0,k6/x/builtin@v0.3.0)"},
		{"an extension needs a newer extension", "k6@v1.8.0,atop@v1.0.0,k6/x/base@v1.0.0",
			"conflict: atop v1.0.0 needs k6/x/base v1.1.0 or newer, but the request says k6/x/base@v1.0.0\n" +
				"(What works: k6@v1.8.0,atop@v1.0.0,k6/x/base@v1.1.0)"},
		{"both ways at once", "k6/x/builtin@v0.3.0,k6/x/new@v0.3.0",
			"conflict: k6 v1.8.0 needs k6/x/builtin v0.4.0 or newer, but the request says k6/x/builtin@v0.3.0\n" +
				"k6/x/new v0.3.0 needs k6 v1.8.0 or newer\n" +
				"(What works: k6@v1.8.0,k6/x/builtin@v0.4.0,k6/x/new@v0.3.0 or k6@v1.0.0,k6/x/builtin@v0.3.0,k6/x/new@v0.2.0)"},
		{"v1 extension in k6 v2", "k6@v2.0.0,k6/x/new@v0.3.0",
			"conflict: k6/x/new v0.3.0 is for k6 v1 (go.k6.io/k6), but the request says k6@v2.0.0\n" +
				"(What works: k6@v1.8.0,k6/x/new@v0.3.0)"},
		{"v2 extension in k6 v1", "k6@v1.8.0,k6/x/two@v1.0.0",
			"conflict: k6/x/two v1.0.0 is for k6 v2 (go.k6.io/k6/v2), but the request says k6@v1.8.0\n" +
				"(What works: k6@v2.0.0,k6/x/two@v1.0.0)"},
		{"extensions of both", "k6/x/new,k6/x/two",
			"conflict: k6/x/new v0.3.0 is for k6 v1 (go.k6.io/k6), which does not go with k6 v2.0.0"},
		{"a newer Go", "k6@v1.8.0,k6/x/future@v1.1.0",
			"conflict: k6/x/future v1.1.0 needs Go 1.99 or newer, but builds here are made with go1.26.8\n" +
				"(What works: k6@v1.8.0,k6/x/future@v1.0.0)"},
		{"two pins of one module", "k6/x/new@v0.1.0,k6/x/new/more@v0.2.0",
			"conflict: k6/x/new@v0.1.0 and k6/x/new/more@v0.2.0 are one module (example.com/xk6-new), which has one version\n" +
				"(Give both the same version.)"},
		{"a pin against a constraint of one module", "k6/x/new@v0.1.0,k6/x/new/more@>0.1",
			"conflict: k6/x/new@v0.1.0 and k6/x/new/more@>0.1 are one module (example.com/xk6-new), and that version does not satisfy that constraint"},
		{"two constraints of one module", "k6/x/new@<0.2,k6/x/new/more@>0.2",
			"conflict: k6/x/new@<0.2 and k6/x/new/more@>0.2 are one module (example.com/xk6-new), and no version satisfies them all\n" +
				"(There are v0.3.0, v0.2.0, v0.1.0.)"},
		{"no such version", "k6/x/new@v0.9.0",
			"not_found: there is no k6/x/new v0.9.0\n(There are v0.3.0, v0.2.0, v0.1.0.)"},
		{"no such version of k6", "k6@v1.7.7",
			"not_found: there is no k6 v1.7.7\n(There are v2.0.0, v1.9.0-rc.1, v1.8.0, v1.0.0, v0.50.0.)"},
		{"no such major version of k6", "k6@v7.0.0,k6/x/new",
			"not_found: there is no k6 v7.0.0\n(There are v2.0.0, v1.9.0-rc.1, v1.8.0, v1.0.0, v0.50.0.)"},
		{"nothing satisfies", "k6/x/new@>=1",
			"not_found: no version of k6/x/new satisfies >=1\n(There are v0.3.0, v0.2.0, v0.1.0.)"},
		{"no k6 satisfies", "k6@>=3,k6/x/new",
			"not_found: no version of k6 satisfies >=3\n(There are v2.0.0, v1.9.0-rc.1, v1.8.0, v1.0.0, v0.50.0.)"},
		{"only a pre-release", "k6/x/pre",
			"not_found: k6/x/pre has no released version\n(There are v0.1.0-rc1.)"},
		{"against the registry's list", "k6/x/listed@v1.1.0",
			"not_found: there is no k6/x/listed v1.1.0\n(There are v1.0.0.)"},
		{"against the registry's constraint", "k6/x/narrow@v2.0.0+incompatible",
			"not_found: there is no k6/x/narrow v2.0.0+incompatible\n(The registry allows <v2. There are v1.0.0.)"},
		{"the proxy does not know the module", "k6/x/gone",
			"not_found: k6/x/gone: the module proxy does not know example.com/xk6-gone\n(If it is on no module proxy, the operator has to name it, as with --direct 'git.example.com/*'.)"},
		{"unknown", "k6/x/neww",
			"not_found: k6/x/neww is not in the registry\n(Did you mean k6/x/new?)"},
		{"unknown, the same word elsewhere", "two",
			"not_found: two is not in the registry\n(Did you mean k6/x/two?)"},
		{"unknown without anything near", "k6/x/unheard-of", "not_found: k6/x/unheard-of is not in the registry"},
		{"k6 by its path", "go.k6.io/k6/v2@v2.0.0", "invalid: go.k6.io/k6/v2 is k6 itself\n(Write k6@VERSION.)"},
		{"a path that is none", "example.com/a./c", `invalid: "example.com/a./c" is not the path of a Go module`},
		{"a path that is not allowed", "github.com/me/xk6-mine@v0.1.0",
			"forbidden: the allowed modules do not include github.com/me/xk6-mine\n" +
				"(A service allows modules by path with --allow-modules.)"},
		{"a registered module by a path that is not allowed", "example.com/xk6-new@v0.2.0",
			"forbidden: the allowed modules do not include example.com/xk6-new\n" +
				"(Ask for it by its registered name, k6/x/new. A service allows modules by path with --allow-modules.)"},
		{"cgo", "subcommand:native", "forbidden: subcommand:native (example.com/xk6-cgo) needs cgo, and builds here are made without\n" +
			"(With a C compiler, k6build builds it with --enable-cgo, also for others as k6build server.)"},
		{"a pseudo-version", "k6@v1.8.1-0.20260102030405-0123456789ab",
			"forbidden: k6@v1.8.1-0.20260102030405-0123456789ab names a commit, and only released versions are built here\n" +
				"(Ask for a released version of k6; --allow-build-semvers allows commits.)"},
		{"a commit", "k6/x/new@v0.0.0+0123456",
			"forbidden: k6/x/new@v0.0.0+0123456 names a commit, and only released versions are built here\n" +
				"(Ask for a released version of k6/x/new; --allow-build-semvers allows commits.)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, answer(t, r, test.list)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Before graph pruning, all that a module needs counts, which may be a newer version of itself.
func TestAModuleThatNeedsANewerVersionOfItself(t *testing.T) {
	r := resolverOf(t, newModuleProxy(universe{
		"go.k6.io/k6@v1.8.0":                                        "go 1.24\n",
		"go.k6.io/k6@v1.7.0":                                        "go 1.24\n",
		"example.com/xk6-new@v0.1.0":                                "go 1.16\nrequire example.com/helper v1.0.0\n",
		"example.com/xk6-new@v0.2.0":                                "go 1.24\nrequire example.com/helper v1.0.0\n",
		"example.com/helper@v1.0.0":                                 "go 1.16\nrequire example.com/xk6-new v0.2.0\n",
		"example.com/xk6-base@v1.0.0":                               "go 1.16\nrequire example.com/helper2 v1.0.0\n",
		"example.com/helper2@v1.0.0":                                "go 1.16\nrequire example.com/xk6-base v1.0.1-0.20260102030405-0123456789ab\n",
		"example.com/xk6-base@v1.0.1-0.20260102030405-0123456789ab": "go 1.24\n",
	}), worldRegistry, nil)
	for list, want := range map[string]string{
		"k6/x/new":        "k6@v1.8.0,k6/x/new@v0.2.0",
		"k6/x/new@v0.1.0": "conflict: k6/x/new v0.1.0 needs k6/x/new v0.2.0 or newer, but the request says k6/x/new@v0.1.0\n(What works: k6@v1.8.0,k6/x/new@v0.2.0)",
		"k6/x/base":       "conflict: k6/x/base v1.0.0 needs k6/x/base v1.0.1-0.20260102030405-0123456789ab or newer, but the newest is v1.0.0",
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s\n got %s\nwant %s", list, got, want)
		}
	}
}

func TestAllowedModulesAndCommits(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), worldRegistry, func(cfg *Config) {
		cfg.AllowModules = "gitlab.com/us, github.com/me/*,example.com/xk6-new,example.com/xk6-any"
		cfg.AllowBuildSemvers = true
		cfg.Filter = "[?tier=='official' || versions]"
	})
	const pseudo = "v0.1.1-0.20260102030405-0123456789ab"
	for list, want := range map[string]string{
		"github.com/me/xk6-mine":                           "k6@v1.8.0,github.com/me/xk6-mine@v0.1.0",
		"github.com/me/xk6-mine@" + pseudo:                 "k6@v1.8.0,github.com/me/xk6-mine@" + pseudo,
		"github.com/me/xk6-mine@v0.0.0+0123456":            "k6@v1.8.0,github.com/me/xk6-mine@" + pseudo,
		"github.com/me/xk6-mine@v0.0.0+ffffffff":           "not_found: the module proxy does not know github.com/me/xk6-mine at commit ffffffff\n(If it is on no module proxy, the operator has to name it, as with --direct 'git.example.com/*'.)",
		"k6/x/listed@v1.0.1-0.20260102030405-0123456789ab": "k6@v1.8.0,k6/x/listed@v1.0.1-0.20260102030405-0123456789ab",
		"example.com/xk6-new":                              "k6@v1.8.0,example.com/xk6-new@v0.3.0",
		"example.com/xk6-any":                              "forbidden: example.com/xk6-any is refused by the filter [?tier=='official' || versions]",
		"k6/x/any":                                         "forbidden: k6/x/any is refused by the filter [?tier=='official' || versions]",
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s\n got %s\nwant %s", list, got, want)
		}
	}
}

func TestPermitRefusesByRulesOnly(t *testing.T) {
	p := newModuleProxy(world)
	r := resolverOf(t, p, worldRegistry, func(cfg *Config) { cfg.Filter = "[?tier=='official']" })
	for list, refused := range map[string]bool{
		"k6@v1.8.0,k6/x/new@v0.3.0":               false,
		"k6@v1.8.0,k6/x/unknown@v1.0.0":           false,
		"k6@v9.0.0":                               false,
		"go.k6.io/k6@v1.0.0":                      false, // not a rule's matter
		"k6@v1.8.0,k6/x/any@v1.0.0":               true,
		"k6@v1.8.0,subcommand:native@v1.0.0":      true,
		"k6@v1.8.0,github.com/me/xk6-mine@v1.0.0": true,
		"k6@v0.0.0+0123456":                       true,
		"k6/x/unknown,k6/x/any":                   true,
	} {
		err := r.Permit(parse(t, list))
		if refused != (k6x.KindOf(err) == k6x.Forbidden) || !refused && err != nil {
			t.Errorf("Permit(%s) = %v, want refused %t", list, err, refused)
		}
	}
	if n := len(p.asked); n > 0 {
		t.Errorf("Permit asked the module proxy %d times", n)
	}
}

// A registry speaks for one major version of k6; what the filter refuses there is refused for others, too.
func TestPermitRefusesForEachMajorVersion(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), `[{"module": "go.k6.io/k6", "imports": ["k6"]},
		{"module": "example.com/xk6-any", "imports": ["k6/x/any"]}, {"module": "example.com/xk6-new", "imports": ["k6/x/new"], "tier": "official"}]`,
		func(cfg *Config) {
			cfg.Filter, cfg.AllowModules = "[?tier=='official']", "*"
			cfg.Registries = append(cfg.Registries, write(t, "v2.json", `[{"module": "go.k6.io/k6/v2", "imports": ["k6"]}]`))
		})
	for list, refused := range map[string]bool{
		"example.com/xk6-any":                    true,
		"k6@v1.8.0,example.com/xk6-any":          true,
		"k6@v2.0.0,example.com/xk6-any":          true,
		"k6@v2.0.0,k6/x/any":                     true,
		"k6@v2.0.0,k6/x/any,example.com/xk6-any": true,
		"k6@v2.0.0,example.com/xk6-new":          false,
		"k6@v2.0.0,k6/x/new":                     false,
		"k6@v2.0.0,github.com/me/xk6-mine":       false,
	} {
		if err := r.Permit(parse(t, list)); refused != (k6x.KindOf(err) == k6x.Forbidden) {
			t.Errorf("Permit(%s) = %v, want refused %t", list, err, refused)
		}
	}
	if got := answer(t, r, "example.com/xk6-any"); !strings.HasPrefix(got, "forbidden: example.com/xk6-any is refused") {
		t.Error(got)
	}
}

func TestCgoIsReported(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), worldRegistry, func(cfg *Config) { cfg.Cgo = true })
	for list, want := range map[string]bool{"subcommand:native": true, "k6/x/new": false} {
		res, err := r.Resolve(t.Context(), parse(t, list))
		if err != nil || res.Cgo != want {
			t.Errorf("%s: cgo %t, error %v", list, res.Cgo, err)
		}
	}
}

func TestResolutionHasNamesAndOrder(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), worldRegistry, nil)
	res, err := r.Resolve(t.Context(), parse(t, "k6/x/new/more,k6/x/new,atop,k6/x/base"))
	if err != nil {
		t.Fatal(err)
	}
	want := []k6x.Module{
		{Path: "go.k6.io/k6", Version: "v1.8.0", Names: []string{"k6"}},
		{Path: "example.com/xk6-atop", Version: "v1.0.0", Names: []string{"atop"}},
		{Path: "example.com/xk6-base", Version: "v1.1.0", Names: []string{"k6/x/base"}},
		{Path: "example.com/xk6-new", Version: "v0.3.0", Names: []string{"k6/x/new", "k6/x/new/more"}},
	}
	if diff := cmp.Diff(want, res.Modules); diff != "" {
		t.Error(diff)
	}
}

// A module proxy may have no k6 v2, in one way or the other; that is no reason not to
// give v1. A proxy that does not answer is: the next answer may be another.
func TestOneMajorMissing(t *testing.T) {
	for status, want := range map[int]string{
		404: "k6@v1.8.0", 410: "k6@v1.8.0", 403: "k6@v1.8.0",
		500: "unavailable: k6: go.k6.io/k6/v2 cannot be fetched at the moment",
		429: "unavailable: k6: go.k6.io/k6/v2 cannot be fetched at the moment",
	} {
		p := newModuleProxy(world)
		p.fail("/go.k6.io/k6/v2/@v/list", status)
		log, lines := logTo()
		r := resolverOf(t, p, worldRegistry, func(cfg *Config) { cfg.Logger = log })
		if got := answer(t, r, "k6"); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
		if want == "k6@v1.8.0" && lines.count("no list of versions") != 1 {
			t.Errorf("%d: the log does not say so", status)
		}
	}
}

func TestEachNameOfAModuleHasItsSay(t *testing.T) {
	r := resolverOf(t, newModuleProxy(world), `[{"module": "example.com/xk6-new", "imports": ["k6/x/a"]},
		{"module": "example.com/xk6-new", "imports": ["k6/x/b"], "constraints": "<0.3"},
		{"module": "example.com/xk6-new", "imports": ["k6/x/c"], "versions": ["v0.1.0", "v0.3.0"]}]`, nil)
	for list, want := range map[string]string{
		"k6/x/a":                      "k6@v1.8.0,k6/x/a@v0.3.0",
		"k6/x/a,k6/x/b":               "k6@v1.8.0,k6/x/a@v0.2.0,k6/x/b@v0.2.0",
		"k6/x/a,k6/x/b,k6/x/c":        "k6@v1.8.0,k6/x/a@v0.1.0,k6/x/b@v0.1.0,k6/x/c@v0.1.0",
		"k6/x/a@v0.2.0,k6/x/c@v0.2.0": "not_found: there is no k6/x/a, k6/x/c v0.2.0\n(There are v0.3.0, v0.1.0.)",
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s: got %s\nwant %s", list, got, want)
		}
	}
}

func TestRetractionsOfAModuleThatOnceWasNone(t *testing.T) {
	r := resolverOf(t, newModuleProxy(universe{
		"go.k6.io/k6@v1.0.0":                      "go 1.24\n",
		"example.com/xk6-old@v1.0.0":              "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
		"example.com/xk6-old@v1.1.0":              "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
		"example.com/xk6-old@v1.2.0":              "go 1.24\nrequire go.k6.io/k6 v1.0.0\nretract [v1.1.0, v1.2.0]\n",
		"example.com/xk6-old@v3.0.0+incompatible": "",
	}), `[{"module": "example.com/xk6-old", "imports": ["k6/x/old"]}]`, nil)
	if got, want := answer(t, r, "k6/x/old"), "k6@v1.0.0,k6/x/old@v1.0.0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRegistryWithOneMajorOfK6KeepsTheOtherOut(t *testing.T) {
	with := func(k6 string) string { return `[{"module": "` + k6 + `", "imports": ["k6"]},` + worldRegistry[1:] }
	v1 := resolverOf(t, newModuleProxy(world), with("go.k6.io/k6"), nil)
	v2 := resolverOf(t, newModuleProxy(world), with("go.k6.io/k6/v2"), nil)
	for _, test := range []struct {
		r          *Resolver
		list, want string
	}{
		{v1, "k6", "k6@v1.8.0"},
		{v1, "k6@v2.0.0", "not_found: there is no k6 v2.0.0"},
		{v2, "k6", "k6@v2.0.0"},
		{v2, "k6@v1.8.0", "not_found: there is no k6 v1.8.0"},
	} {
		if got := answer(t, test.r, test.list); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %s\nwant %s", test.list, got, test.want)
		}
	}
}

func TestProxyRefusals(t *testing.T) {
	p := newModuleProxy(world)
	r := resolverOf(t, p, worldRegistry, nil)
	p.fail("/example.com/xk6-new/@v/list", 403)
	p.fail("/example.com/xk6-base/@v/v3.0.0.mod", 403)
	p.fail("/example.com/xk6-base/@v/v1.0.9.mod", 403)
	p.fail("/example.com/xk6-base/@v/v1.1.0.mod", 503)
	for list, want := range map[string]string{
		"k6/x/new":         "unavailable: k6/x/new: the module proxy refuses example.com/xk6-new (403)",
		"k6/x/base@v1.0.9": "not_found: there is no k6/x/base v1.0.9\n(There are v1.1.0, v1.0.0.)",
		"k6/x/base@v1.1.0": "unavailable: example.com/xk6-base@v1.1.0 cannot be fetched at the moment",
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s\n got %s\nwant %s", list, got, want)
		}
	}
	_, err := r.Resolve(t.Context(), parse(t, "k6/x/base@v1.1.0"))
	if k6x.AsError(err).RetryAfter == 0 {
		t.Error("nothing says when to try again")
	}
}

func TestGoModFilesThatAreOfNoUse(t *testing.T) {
	p := newModuleProxy(universe{
		"go.k6.io/k6@v1.0.0":          "go 1.24\n",
		"example.com/xk6-old@v1.0.0":  "go 1.24\nrequire go.k6.io/k6 v1.0.0\n",
		"example.com/xk6-old@v1.1.0":  "require (",
		"example.com/xk6-old@v1.2.0":  "module example.com/xk6-new\n",
		"example.com/xk6-old@v1.3.0":  "go 1.16\nrequire example.com/lost v1.0.0\n",
		"example.com/xk6-old@v1.4.0":  "go 1.16\nrequire example.com/lost v0.0.0\nreplace example.com/lost => ../lost\n",
		"example.com/xk6-old@v1.5.0":  "go 1.24\nrequire private-lib v0.0.0\nreplace private-lib v0.0.0 => example.com/lib v1.0.0\n",
		"example.com/xk6-old@v1.6.0":  "go 1.16\nrequire example.com/xk6-old2 v1.0.0\n",
		"example.com/xk6-old2@v1.0.0": "module example.com/xk6-new\n",
		"github.com/me/fork@v0.1.0":   "module example.com/xk6-old\n",
	})
	r := resolverOf(t, p, `[{"module":"example.com/xk6-old","imports":["k6/x/old"]}]`, func(cfg *Config) { cfg.AllowModules = "github.com/me" })
	const fork = "not_found: github.com/me/fork@v0.1.0 declares its path as example.com/xk6-old, but was required as github.com/me/fork\n" +
		"(Ask for example.com/xk6-old, or build a fork in its place where you are: k6x build --replace example.com/xk6-old=github.com/me/fork@v0.1.0.)"
	for list, want := range map[string]string{
		"k6/x/old":        "k6@v1.0.0,k6/x/old@v1.0.0",
		"k6/x/old@v1.1.0": "not_found: example.com/xk6-old@v1.1.0 has a go.mod file that is malformed: go.mod:",
		"k6/x/old@v1.2.0": "not_found: example.com/xk6-old@v1.2.0 declares its path as example.com/xk6-new, but was required as example.com/xk6-old\n",
		"k6/x/old@v1.4.0": "not_found: example.com/xk6-old@v1.4.0 needs example.com/lost@v0.0.0, which cannot be had: " +
			"its go.mod replaces example.com/lost by ../lost, and replace counts only in a main module",
		"k6/x/old@v1.5.0": "not_found: example.com/xk6-old@v1.5.0 requires private-lib@v0.0.0, which cannot be: " +
			"its go.mod replaces private-lib by example.com/lib@v1.0.0, and replace counts only in a main module",
		"k6/x/old@v1.6.0": "not_found: example.com/xk6-old@v1.6.0 needs a module that cannot be had: " +
			"example.com/xk6-old2@v1.0.0 declares its path as example.com/xk6-new, but was required as example.com/xk6-old2",
		"github.com/me/fork@v0.1.0": fork,
		"github.com/me/fork":        fork,
		"k6/x/old@v1.3.0": "not_found: example.com/xk6-old@v1.3.0 needs a module that cannot be had: " +
			"the module proxy does not know example.com/lost@v1.0.0",
	} {
		if got := answer(t, r, list); !strings.HasPrefix(got, want) {
			t.Errorf("%s\n got %s\nwant %s", list, got, want)
		}
	}
}
