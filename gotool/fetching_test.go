package gotool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k6x"
	"k6x/internal/egress"
)

func TestGOPROXYStaysAsItIsSet(t *testing.T) {
	for name, c := range map[string]struct {
		variable, file, extra string
		want                  string
	}{
		"nowhere":                       {"", "", "", "https://proxy.golang.org"},
		"as a variable":                 {"https://a.example,direct", "", "", "https://a.example,direct"},
		"as a variable, to the default": {"https://proxy.golang.org,direct", "", "", "https://proxy.golang.org,direct"},
		"in the file of go env":         {"", "# mine\nGOPROXY=https://b.example|direct\n", "", "https://b.example|direct"},
		"on the command line":           {"https://a.example", "GOPROXY=https://b.example", "GOPROXY=direct", "direct"},
		"to nothing":                    {"https://a.example,direct", "", "GOPROXY=", "https://proxy.golang.org"},
		"other things":                  {"", "GOPRIVATE=x\nXGOPROXY=y\nGOPROXY=\n", "GONOPROXY=z", "https://proxy.golang.org"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "env")
			if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("GOENV", file)
			t.Setenv("GOPROXY", c.variable)
			var extra []string
			if c.extra != "" {
				extra = []string{c.extra}
			}
			tool, err := Find(t.Context(), extra, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := last(tool.Env(Dirs{}), "GOPROXY"); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestWithoutDirect(t *testing.T) {
	for list, want := range map[string]string{
		"https://proxy.golang.org,direct": "https://proxy.golang.org", "https://a|https://b, direct ,https://c": "https://a|https://b",
		"direct": "", "off": "off", "https://direct.example,https://b/direct": "https://direct.example,https://b/direct", "": "",
	} {
		if got := withoutDirect(list); got != want {
			t.Errorf("%s becomes %s, want %s", list, got, want)
		}
	}
}

func TestFetching(t *testing.T) {
	const patterns = "git.example.com/*,*.corp.example"
	direct := []string{"git.example.com/*", " *.corp.example"}
	for env, want := range map[string]map[string]string{
		"":                                    {"GOPROXY": "https://proxy.golang.org", "GONOPROXY": "(unset)", "GIT_ALLOW_PROTOCOL": "https", "GIT_SSH_COMMAND": "(unset)"},
		"GOPROXY=a GOPROXY=":                  {"GOPROXY": "https://proxy.golang.org"},
		"GOPROXY=https://a.example,direct":    {"GOPROXY": "https://a.example,direct", "GIT_ALLOW_PROTOCOL": "https"},
		"GOPRIVATE=a":                         {"GIT_ALLOW_PROTOCOL": "https:ssh:git+ssh", "GIT_SSH_COMMAND": SSHCommand, "GONOPROXY": "(unset)"},
		"GOPRIVATE=a GONOPROXY=none":          {"GIT_ALLOW_PROTOCOL": "https", "GIT_SSH_COMMAND": "(unset)"},
		"GONOPROXY=a GIT_SSH_COMMAND=mine":    {"GIT_SSH_COMMAND": "mine"},
		"GONOPROXY=a GIT_SSH=mine":            {"GIT_SSH_COMMAND": "(unset)"},
		"GOINSECURE=a":                        {"GIT_ALLOW_PROTOCOL": "https:http"},
		"GIT_ALLOW_PROTOCOL=file GOPRIVATE=a": {"GIT_ALLOW_PROTOCOL": "file"},
		"--direct":                            {"GONOPROXY": patterns, "GONOSUMDB": patterns, "GOPRIVATE": "(unset)", "GIT_ALLOW_PROTOCOL": "https:ssh:git+ssh"},
		"--direct GOPRIVATE=a":                {"GONOPROXY": "a," + patterns, "GONOSUMDB": "a," + patterns, "GOPRIVATE": "a"},
		"--direct GOPRIVATE=a GONOPROXY=none GONOSUMDB=b,c": {"GONOPROXY": patterns, "GONOSUMDB": "b,c," + patterns},
	} {
		var with []string
		if strings.HasPrefix(env, "--direct") {
			with = direct
		}
		words := strings.Fields(strings.TrimPrefix(env, "--direct"))
		got, err := Fetching(words, with)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range want {
			if last(got, key) != value {
				t.Errorf("%s: %s=%s, want %s", env, key, last(got, key), value)
			}
		}
	}
	for _, bad := range []string{"", " ", "[", "https://git.example.com/x", "a,b", "/x", "none", "git.example.com:8443/x", "two words"} {
		if _, err := Fetching(nil, []string{bad}); k6x.KindOf(err) != k6x.Invalid || !strings.Contains(k6x.AsError(err).Hint, "--direct") {
			t.Errorf("--direct %q: %v", bad, err)
		}
	}
}

// The way to the network stands in for the operator's proxies, which it uses itself.
func TestEnvHasTheWayToTheNetwork(t *testing.T) {
	tool := &Tool{Fetch: []string{"HTTPS_PROXY=http://gate.example:3128", "NO_PROXY=*"}}
	if got := last(tool.Env(Dirs{}), "HTTPS_PROXY"); got != "http://gate.example:3128" {
		t.Errorf("without one: %s", got)
	}
	var err error
	if tool.Egress, err = egress.Start(tool.Fetch, nil); err != nil {
		t.Fatal(err)
	}
	defer tool.Egress.Close()
	env := tool.Env(Dirs{}, "GOOS=plan9")
	if got := last(env, "HTTPS_PROXY"); !strings.Contains(got, "@127.0.0.1:") || last(env, "NO_PROXY") != "" || last(env, "GOOS") != "plan9" {
		t.Errorf("%v", env)
	}
}
