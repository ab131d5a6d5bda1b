package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExtensionsOfAllSorts(t *testing.T) {
	forFull(t)
	t.Parallel()
	s := start(t, warmDir(t))
	for name, c := range map[string]struct {
		list string
		says []string // what k6 version says
	}{
		"two together":               {"k6@v1.8.1,k6/x/one@v0.1.0,k6/x/two@v0.2.0", []string{"k6/x/one [js]", "k6/x/two [js]"}},
		"an output":                  {"k6@v1.8.1,ticks@v0.1.0", []string{"ticks [output]"}},
		"a subcommand":               {"k6@v1.8.1,subcommand:hello@v0.1.0", []string{"hello [subcommand]"}},
		"several imports in one":     {"k6@v1.8.1,k6/x/many@v0.1.0,k6/x/many/more@v0.1.0", []string{"k6/x/many [js]", "k6/x/many/more [js]"}},
		"a retracted version by pin": {"k6@v1.8.1,k6/x/versions@v1.1.0", []string{"xk6-versions v1.1.0"}},
		"a pre-release by pin":       {"k6@v1.8.1,k6/x/versions@v1.3.0-rc.1", []string{"xk6-versions v1.3.0-rc.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			version := run(t, fetch(t, s.url+host+c.list).body, "version")
			for _, want := range c.says {
				if !strings.Contains(version, want) {
					t.Errorf("k6 version does not say %q:\n%s", want, version)
				}
			}
		})
	}
	if out := run(t, fetch(t, s.url+host+"k6@v1.8.1,subcommand:hello@v0.1.0").body, "x", "hello"); !strings.Contains(out, "hello") {
		t.Errorf("k6 x hello: %s", out)
	}
	if found := storeLeftovers(t, s.cache); len(found) > 0 {
		t.Errorf("left over: %v", found)
	}
}

func TestOneModuleUnderTwoNamesIsBuiltOnce(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	a := fetch(t, s.url+host+"k6@v1.8.1,k6/x/many@v0.1.0")
	b := fetch(t, s.url+host+"k6@v1.8.1,k6/x/many/more@v0.1.0")
	if a.digest() != b.digest() || s.metric(t, "k6x_builds_total") != 1 {
		t.Errorf("%s and %s, %v builds", a.digest(), b.digest(), s.metric(t, "k6x_builds_total"))
	}
}

func TestOpenRequestsPickVersionsThatAgree(t *testing.T) {
	s := start(t, warmDir(t))
	for in, want := range map[string]string{
		"k6/x/versions":                          "k6@v1.8.1,k6/x/versions@v1.2.0",
		"k6/x/versions@%3C1.2":                   "k6@v1.8.1,k6/x/versions@v1.0.0", // v1.1.0 is retracted
		"k6/x/versions@%3E1.2-0":                 "k6@v1.8.1,k6/x/versions@v1.3.0-rc.1",
		"k6@v1.7.0,k6/x/newer":                   "k6@v1.7.0,k6/x/newer@v0.1.0",
		"k6,k6/x/newer":                          "k6@v1.8.1,k6/x/newer@v0.2.0",
		"k6/x/redis@v0.3.0":                      "k6@v0.52.0,k6/x/redis@v0.3.0", // k6 v1.8.1 itself needs v0.3.6
		"k6@v1.8.1,k6/x/many/more,k6/x/many@0.1": "k6@v1.8.1,k6/x/many@v0.1.0,k6/x/many/more@v0.1.0",
	} {
		got := get(t, s.url+host+in)
		if got.status != 307 || got.header.Get("Location") != host+want {
			t.Errorf("%s: %d to %s, want %s\n%s", in, got.status, got.header.Get("Location"), want, got.text())
		}
	}
}

func TestWhatCannotBeBuiltSaysWhy(t *testing.T) {
	s := start(t, warmDir(t))
	for name, c := range map[string]struct {
		path   string
		status int
		says   []string
	}{
		"newer k6 than the pin": {host + "k6@v1.7.0,k6/x/newer@v0.2.0", 409, []string{"k6/x/newer", "v0.2.0", "v1.8.1", "v1.7.0", "k6@v1.8.1,k6/x/newer@v0.2.0"}},
		"k6 needs a newer one":  {host + "k6@v1.8.1,k6/x/redis@v0.3.0", 409, []string{"redis", "v0.3.6", "v0.3.0"}},
		"does not compile":      {host + "k6@v1.8.1,k6/x/broken@v0.1.0", 422, []string{"k6/x/broken", "broken.go:20:28: undefined: undefinedName", "/logs/"}},
		"untidy go.mod":         {host + "k6@v1.8.1,k6/x/untidy@v0.1.0", 422, []string{"xk6-untidy@v0.1.0", "ext.example/helper", "go mod tidy"}},
		"cgo":                   {host + "k6@v1.8.1,k6/x/cgo@v0.1.0", 403, []string{"k6/x/cgo", "cgo"}},
		"unknown name":          {host + "k6@v1.8.1,k6/x/reddis@v0.1.0", 404, []string{"k6/x/reddis", "k6/x/redis"}},
		"unknown version":       {host + "k6@v1.8.1,k6/x/one@v9.9.9", 404, []string{"k6/x/one", "v9.9.9", "v0.1.0"}},
		"unknown k6":            {host + "k6@v1.99.0", 404, []string{"k6", "v1.99.0", "v1.8.1"}},
		"nothing satisfies":     {host + "k6@v1.8.1,k6/x/one@%3E5", 404, []string{"k6/x/one", ">5", "v0.1.0"}},
		"unknown platform":      {"/plan9/mips/k6@v1.8.1", 404, []string{"plan9/mips", "linux/amd64"}},
		"malformed":             {host + "k6@v1.8.1,", 400, []string{"empty item"}},
		"twice and different":   {host + "k6@v1.8.1,k6@v1.7.0", 400, []string{"twice"}},
		"a commit":              {host + "k6@v0.0.0-20260101000000-abcdefabcdef", 403, []string{"--allow-build-semvers"}},
		"a module path":         {host + "k6@v1.8.1,ext.example/xk6-one@v0.1.0", 403, []string{"ext.example/xk6-one", "--allow-modules"}},
		"nothing there":         {"/favicon.ico", 404, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := get(t, s.url+c.path)
			if got.status != c.status {
				t.Errorf("%d, want %d\n%s", got.status, c.status, got.text())
			}
			for _, want := range c.says {
				if !strings.Contains(got.text(), want) {
					t.Errorf("it does not say %q:\n%s", want, got.text())
				}
			}
			if cc := got.header.Get("Cache-Control"); cc != "no-store" {
				t.Errorf("Cache-Control: %s", cc)
			}
			if strings.Contains(got.text(), s.cache) || strings.Contains(got.text(), world.dir) {
				t.Errorf("it shows a path of the machine:\n%s", got.text())
			}
			problem := get(t, s.url+c.path, "Accept: application/problem+json")
			var p struct {
				Status        int
				Title, Detail string
			}
			if err := json.Unmarshal(problem.body, &p); err != nil || p.Status != c.status || p.Detail == "" ||
				problem.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("problem: %v\n%s", err, problem.text())
			}
		})
	}
	failed := get(t, s.url+host+"k6@v1.8.1,k6/x/broken@v0.1.0")
	i := strings.Index(string(failed.body), s.url+"/logs/")
	if i < 0 {
		t.Fatalf("no link to the log:\n%s", failed.text())
	}
	log := get(t, strings.TrimSpace(string(failed.body[i:])))
	if log.status != 200 || !strings.Contains(string(log.body), "undefined: undefinedName") {
		t.Errorf("log: %d\n%s", log.status, log.text())
	}
	if got := s.metric(t, "k6x_builds_total"); got != 2 {
		t.Errorf("%v builds, want one for each of the two that get as far as a build", got)
	}
	if found := leftovers(t, s.cache); len(found) > 0 {
		t.Errorf("left over: %v", found)
	}
}

func TestModulesThatTheOperatorAllowsNeedNoRegistry(t *testing.T) {
	forFull(t)
	t.Parallel()
	s := start(t, warmDir(t), "--allow-modules", "ext.example/xk6-o*,ext.example/other")
	version := run(t, fetch(t, s.url+host+"k6@v1.8.1,ext.example/xk6-one@v0.1.0").body, "version")
	if !strings.Contains(version, "k6/x/one") {
		t.Error(version)
	}
	if got := get(t, s.url+host+"k6@v1.8.1,ext.example/xk6-two@v0.2.0"); got.status != 403 {
		t.Errorf("a module that is not allowed: %d", got.status)
	}
}

func TestFilterRefusesAndSaysSo(t *testing.T) {
	s := start(t, warmDir(t), "--filter", "[?tier=='official']")
	got := get(t, s.url+host+"k6/x/one")
	if got.status != 403 || !strings.Contains(got.text(), "[?tier=='official']") {
		t.Errorf("%d\n%s", got.status, got.text())
	}
	if got := get(t, s.url+host+"k6/x/redis"); got.status != 307 {
		t.Errorf("%d\n%s", got.status, got.text())
	}
}
