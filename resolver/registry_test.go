package resolver

import (
	"encoding/json"
	"log/slog"

	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k6x"
)

func parseDoc(t *testing.T, data string) (*document, *logged) {
	t.Helper()
	log, lines := logTo()
	doc, err := parseRegistry([]byte(data), log)
	if err != nil {
		t.Fatal(err)
	}
	return doc, lines
}

// say returns what a document says: name → module.
func (d *document) say() map[string]string {
	said := map[string]string{}
	for name, entries := range d.byName {
		said[name] = entries[0].module
	}
	return said
}

func TestRegistryShapes(t *testing.T) {
	for _, test := range []struct {
		name, data string
		want       map[string]string
	}{
		{"array", `[
			{"module": "go.k6.io/k6", "imports": ["k6"], "future": {"a": 1}},
			{"module": "example.com/xk6-a", "imports": ["k6/x/a", "k6/x/a/b"], "outputs": ["a"], "subcommands": ["a"],
			 "name": 7, "url": [], "type": false, "repo": {"stars": 3}}]`,
			map[string]string{"k6": "go.k6.io/k6", "k6/x/a": "example.com/xk6-a", "k6/x/a/b": "example.com/xk6-a",
				"a": "example.com/xk6-a", "subcommand:a": "example.com/xk6-a"}},
		{"catalog", `{"k6": {"module": "go.k6.io/k6"}, "k6/x/a": {"module": "example.com/a", "versions": ["v1.0.0"]},
			"out": {"module": "example.com/out", "outputs": ["out", "k6/x/a"]},
			"extensions": {"module": "example.com/trap"}}`,
			map[string]string{"k6": "go.k6.io/k6", "k6/x/a": "example.com/a", "out": "example.com/out", "extensions": "example.com/trap"}},
		{"oldest", `{"extensions": [
			{"name": "xk6-kafka", "url": "https://github.com/mostafa/xk6-kafka", "type": ["JavaScript", "Output"], "stars": "82"},
			{"name": "xk6-sql-driver", "url": "https://example.com/sql.git", "type": ["JavaScript"]},
			{"name": "xk6-output-influxdb", "url": "https://github.com/grafana/xk6-output-influxdb/", "type": ["Output"]}]}`,
			map[string]string{
				"k6/x/kafka": "github.com/mostafa/xk6-kafka", "xk6-kafka": "github.com/mostafa/xk6-kafka", "kafka": "github.com/mostafa/xk6-kafka",
				"k6/x/sql-driver": "example.com/sql", "k6/x/driver": "example.com/sql",
				"xk6-output-influxdb": "github.com/grafana/xk6-output-influxdb", "influxdb": "github.com/grafana/xk6-output-influxdb",
				"output-influxdb": "github.com/grafana/xk6-output-influxdb"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc, lines := parseDoc(t, test.data)
			if diff := cmp.Diff(test.want, doc.say()); diff != "" {
				t.Error(diff)
			}
			if lines.count("WARN") > 0 {
				t.Errorf("logged: %s", lines.buf.String())
			}
		})
	}
}

func TestRegistryLeavesOutWhatMakesNoSense(t *testing.T) {
	doc, lines := parseDoc(t, `[
		{"module": "example.com/good", "imports": ["k6/x/good", "k6/x/../bad", "k6", "evil.com/good", "k6/y"],
		 "versions": ["v0.2.0", "0.10.0", "v0.2.0", "nonsense", "v2.0.0"]},
		{"module": "../../etc/passwd", "imports": ["k6/x/path"]},
		{"module": "go.k6.io/k6/v3", "imports": ["k6/x/core"]},
		{"module": "example.com/nameless"},
		{"module": "example.com/types", "imports": "k6/x/types"},
		{"module": "example.com/range", "imports": ["k6/x/range"], "constraints": "one or two"},
		{"module": "example.com/versions", "imports": ["k6/x/versions"], "versions": ["x"]},
		null, 1, "text"]`)
	if diff := cmp.Diff(map[string]string{"k6/x/good": "example.com/good"}, doc.say()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"v0.10.0", "v0.2.0"}, doc.entries[0].versions); diff != "" {
		t.Error(diff)
	}
	if n := lines.count("entry is left out"); n != 9 {
		t.Errorf("%d entries logged as left out", n)
	}
}

func TestBrokenRegistryIsAnErrorAtStart(t *testing.T) {
	for name, data := range map[string]string{
		"not JSON": "<html>", "cut": `[{"module":`, "text": `"text"`, "number": "7", "empty": "",
		"an error": `{"error": "rate limited"}`, "no names": "{}", "no entries": " [] ", "null": "null",
		"no extensions": `{"extensions": null}`, "an empty list": `{"extensions": []}`,
		"too many": "[" + strings.Repeat("0,", maxEntries) + "0]",
	} {
		file := write(t, "registry.json", data)
		_, err := New(t.Context(), Config{Dir: t.TempDir(), Registries: []string{file}})
		if k6x.KindOf(err) != k6x.Invalid || !strings.Contains(err.Error(), "registry.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := New(t.Context(), Config{Dir: t.TempDir(), Registries: []string{filepath.Join(t.TempDir(), "none.json")}})
	if k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("missing file: %v", err)
	}
}

func TestEmbeddedRegistryIsInOrder(t *testing.T) {
	log, lines := logTo()
	s, err := embeddedSource(true, log)
	if err != nil || lines.count("WARN") > 0 {
		t.Fatal(err, lines.buf.String())
	}
	said := s.doc.say()
	for name, module := range map[string]string{
		"k6/x/redis": "github.com/grafana/xk6-redis", "k6/x/sql/driver/mysql": "github.com/grafana/xk6-sql-driver-mysql",
		"k6/x/kafka": "github.com/mostafa/xk6-kafka", "subcommand:docs": "github.com/grafana/xk6-docs", "dashboard": "github.com/grafana/xk6-dashboard",
	} {
		if said[name] != module {
			t.Errorf("%s is %q, want %s", name, said[name], module)
		}
	}
	if s.doc.major != 0 || len(s.doc.byName["k6"]) != 2 {
		t.Error("it does not speak for both major versions of k6")
	}
}

func TestOverlays(t *testing.T) {
	v1 := `[{"module": "go.k6.io/k6", "imports": ["k6"]}, {"module": "example.com/a", "imports": ["k6/x/a"]},
		{"module": "example.com/only1", "imports": ["k6/x/only1"]}]`
	v2 := `[{"module": "go.k6.io/k6/v2", "imports": ["k6"]}, {"module": "example.com/a/v2", "imports": ["k6/x/a"]},
		{"module": "example.com/b", "imports": ["k6/x/b"]}]`
	ours := `{"k6/x/b": {"module": "example.com/our-b"}}`
	r, err := New(t.Context(), Config{Dir: t.TempDir(),
		Registries: []string{Embedded, write(t, "v1.json", v1), write(t, "v2.json", v2), write(t, "ours.json", ours)}})
	if err != nil {
		t.Fatal(err)
	}
	idx := r.index.Load()
	for _, test := range []struct {
		name  string
		major int
		want  string
	}{
		{"k6/x/a", 1, "example.com/a"}, {"k6/x/a", 2, "example.com/a/v2"},
		{"k6/x/b", 1, "example.com/our-b"}, {"k6/x/b", 2, "example.com/our-b"},
		{"k6/x/only1", 1, "example.com/only1"}, {"k6/x/only1", 2, ""},
		{"k6/x/redis", 1, "github.com/grafana/xk6-redis"}, {"k6/x/redis", 2, "github.com/grafana/xk6-redis"},
		{"example.com/a", 1, "example.com/a"}, {"example.com/a", 2, ""},
	} {
		got := ""
		if e, _ := idx.lookup(test.name, test.major); e != nil {
			got = e.module
		}
		if got != test.want {
			t.Errorf("%s with k6 v%d is %q, want %q", test.name, test.major, got, test.want)
		}
	}
	if e := idx.k6(2); e == nil || e.module != "go.k6.io/k6/v2" {
		t.Errorf("k6 v2 is %v", e)
	}
	without, err := New(t.Context(), Config{Dir: t.TempDir(), Registries: []string{write(t, "ours.json", ours)}})
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := without.index.Load().lookup("k6/x/redis", 1); e != nil {
		t.Error("embedded extensions are there although the embedded registry is not named")
	}
	if without.index.Load().k6(1) == nil {
		t.Error("k6 itself is not known")
	}
}

func TestExtensionOfOneRegistryIsNotForTheOtherMajor(t *testing.T) {
	p := newModuleProxy(world)
	v1 := write(t, "v1.json", `[{"module": "go.k6.io/k6", "imports": ["k6"]}, {"module": "example.com/xk6-new", "imports": ["k6/x/new"]},
		{"module": "example.com/xk6-any", "imports": ["k6/x/any"]}]`)
	v2 := write(t, "v2.json", `[{"module": "go.k6.io/k6/v2", "imports": ["k6"]}, {"module": "example.com/xk6-two", "imports": ["k6/x/two"]}]`)
	r := resolverOf(t, p, worldRegistry, func(cfg *Config) { cfg.Registries = []string{v1, v2} })
	for list, want := range map[string]string{
		"k6/x/any":                  "k6@v1.8.0,k6/x/any@v1.0.0",
		"k6/x/two":                  "k6@v2.0.0,k6/x/two@v1.0.0",
		"k6@v2.0.0,k6/x/any":        "conflict: k6/x/any is not registered for k6 v2, but the request says k6@v2.0.0\n(What works: k6@v1.8.0,k6/x/any@v1.0.0)",
		"k6@>=2,k6/x/any":           "conflict: k6/x/any is not registered for k6 v2, but the request says k6@>=2\n(What works: k6@v1.8.0,k6/x/any@v1.0.0)",
		"k6/x/any,k6/x/two":         "conflict: k6/x/any is not registered for k6 v2",
		"k6@v1.8.0,k6/x/any@=1.0.0": "k6@v1.8.0,k6/x/any@v1.0.0",
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s\n got %s\nwant %s", list, got, want)
		}
	}
}

func FuzzRegistry(f *testing.F) {
	f.Add([]byte(`[{"module": "e.com/a", "imports": ["k6/x/a"], "tier": "official"}, {"module": "go.k6.io/k6", "imports": ["k6"]}]`), "[?tier=='official']")
	f.Add([]byte(`[{"module": "e.com/a/v2", "outputs": ["a"], "versions": ["v2.0.1"]}]`), "[?contains(tiers,'Official')]")
	f.Add([]byte(`{"extensions": [{"name": "xk6-a", "url": "https://e.com/a", "type": ["Output"]}]}`), "[?to_number(stars) > `5`]")
	f.Add([]byte(`{"k6/x/a": {"module": "e.com/a", "versions": ["v1.0.0"], "constraints": ">=1"}}`), "sort_by(@, &name)")
	f.Fuzz(func(t *testing.T, data []byte, expression string) {
		doc, err := parseRegistry(data, slog.New(slog.DiscardHandler))
		if err != nil {
			return
		}
		for _, e := range doc.entries {
			for _, name := range e.names {
				if err := k6x.CheckName(name); err != nil || k6x.IsModulePath(name) || (name == k6x.K6) != e.isK6() {
					t.Errorf("name %q of %s", name, e.module)
				}
			}
			if _, err := json.Marshal(e.raw); err != nil {
				t.Error(err)
			}
		}
		filter, err := compileFilter(expression)
		if err != nil {
			return
		}
		idx, err := newIndex([]*document{doc}, filter, expression)
		if err != nil {
			return
		}
		for _, e := range doc.entries {
			if e.isK6() && idx.refused[e] {
				t.Error("the filter refuses k6")
			}
		}
	})
}

func TestFilters(t *testing.T) {
	const array = `[
		{"module": "e.com/xk6-a", "imports": ["k6/x/a"], "tier": "official", "tiers": null, "repo": {"stars": 109}},
		{"module": "e.com/xk6-b", "imports": ["k6/x/b"], "tier": "community", "repo": {"name": "xk6-bee", "url": "https://git.e.com/bee"}},
		{"module": "e.com/xk6-c", "outputs": ["c"], "cloudEnabled": true}]`
	const oldest = `{"extensions": [
		{"name": "xk6-a", "url": "https://e.com/xk6-a", "type": ["JavaScript"], "tiers": ["Official"], "cloudEnabled": true, "stars": "109"},
		{"name": "xk6-b", "url": "https://e.com/xk6-b", "type": ["JavaScript"], "tiers": ["Community"], "stars": "1"},
		{"name": "xk6-output-c", "url": "https://e.com/xk6-c", "type": ["Output"], "tiers": ["Community"]}]}`
	const catalog = `{"k6/x/a": {"module": "e.com/xk6-a", "tier": "official", "repo": {"stars": 109}},
		"k6/x/b": {"module": "e.com/xk6-b"}, "c": {"module": "e.com/xk6-c"}}`
	for _, test := range []struct{ filter, data, want string }{
		{"", array, "a b c"},
		{"[*]", array, "a b c"},
		{"@", array, "a b c"},
		{"[?tier=='official']", array, "a"},
		{"[?tier=='official']", catalog, "a"},
		{"[?contains(tiers,'Official')]", array, "a"},
		{"[?contains(tiers,'Official')]", oldest, "a"},
		{"[?contains(tiers,'Official')]", catalog, "a"},
		{"[?cloudEnabled == `true`]", oldest, "a"},
		{"[?cloudEnabled == `true`]", array, "c"},
		{"[?to_number(stars) > `5`]", array, "a"},
		{"[?to_number(stars) > `5`]", oldest, "a"},
		{"[?to_number(stars) > `5`]", catalog, "a"},
		{"[?contains(type,'Output')]", array, "c"},
		{"[?contains(type,'Output')]", oldest, "c"},
		{"[?contains(type,'Output')]", catalog, "c"},
		{"[?name == 'xk6-a' || name == 'xk6-bee']", array, "a b"},
		{"[?url == 'https://git.e.com/bee' || url == 'https://e.com/xk6-a']", array, "a b"},
		{"[?module == 'true']", array, ""},
	} {
		t.Run(test.filter, func(t *testing.T) {
			log, lines := logTo()
			r, err := New(t.Context(), Config{Dir: t.TempDir(), Filter: test.filter, Registries: []string{write(t, "r.json", test.data)}, Logger: log})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range r.index.Load().docs[0].entries {
				if !r.index.Load().refused[e] {
					got = append(got, e.module[len("e.com/xk6-"):])
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("selects %v, want %s", got, test.want)
			}
			if r.Permit(parse(t, "k6")) != nil {
				t.Error("k6 is refused")
			}
			if warned := lines.count("selects none") == 1; warned != (test.want == "") {
				t.Errorf("warned: %t", warned)
			}
		})
	}
}

func TestFiltersThatAreWrong(t *testing.T) {
	file := write(t, "r.json", `[{"module": "e.com/xk6-a", "imports": ["k6/x/a"]}]`)
	for filter, want := range map[string]string{
		"[?cloudEnabled == true]":                   "In jmespath a boolean is written in backticks: [?cloudEnabled == `true`]",
		"[?a==false||b=='true']":                    "In jmespath a boolean is written in backticks: [?a==`false`||b=='true']",
		"[?\"true\"=='x' && c==true && `\"true\"`]": "In jmespath a boolean is written in backticks: [?\"true\"=='x' && c==`true` && `\"true\"`]",
		"[?":                  "",
		"[*].module":          "A filter selects entries, as [?tier=='official'] does.",
		"[*].{a: url}":        "A filter selects entries, as [?tier=='official'] does.",
		"[0]":                 "A filter selects entries, as [?tier=='official'] does.",
		"name":                "A filter selects entries, as [?tier=='official'] does.",
		"[*].repo_":           "", // selects nothing: not wrong
		"length(name)":        "",
		"[?a > `5`(b) > `5`]": "", // compiles, and panics
	} {
		_, err := New(t.Context(), Config{Dir: t.TempDir(), Filter: filter, Registries: []string{file}})
		if filter == "[*].repo_" {
			if err != nil {
				t.Errorf("%s: %v", filter, err)
			}
			continue
		}
		if k6x.KindOf(err) != k6x.Invalid || k6x.AsError(err).Hint != want || !strings.Contains(err.Error(), filter) {
			t.Errorf("%s: %v (%s)", filter, err, k6x.AsError(err).Hint)
		}
	}
	for _, filter := range []string{"[?name == 'it\\'s true']", "[?trueish == `true`]", "[?not_true == 'x']"} {
		if _, err := New(t.Context(), Config{Dir: t.TempDir(), Filter: filter, Registries: []string{file}}); err != nil {
			t.Errorf("%s: %v", filter, err)
		}
	}
	for _, patterns := range []string{"[", "a,[b"} {
		if _, err := New(t.Context(), Config{Dir: t.TempDir(), AllowModules: patterns}); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("patterns %s: %v", patterns, err)
		}
	}
}
