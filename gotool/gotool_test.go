package gotool

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k6x"
)

func TestFindKnowsTheGoCommandAndWhatFetchingNeeds(t *testing.T) {
	t.Setenv("GOPROXY", "https://proxy.example,direct")
	t.Setenv("HTTPS_PROXY", "http://gate.example:3128")
	t.Setenv("GOFLAGS", "-mod=vendor")
	t.Setenv("GOTOOLCHAIN", "go1.1")
	tool, err := Find(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !IsRelease(tool.Version) || !filepath.IsAbs(tool.Path) || !filepath.IsAbs(tool.Root) {
		t.Errorf("version %q, path %q, root %q", tool.Version, tool.Path, tool.Root)
	}
	for _, want := range []string{"GOPROXY=https://proxy.example,direct", "HTTPS_PROXY=http://gate.example:3128"} {
		if !slices.Contains(tool.Fetch, want) {
			t.Errorf("%s is missing in %v", want, tool.Fetch)
		}
	}
}

func TestFindReadsTheSettingsOfTheUsersGoEnvFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("GOPRIVATE=corp.example\nGOPROXY=https://corp.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOENV", file)
	t.Setenv("GOPROXY", "")
	tool, err := Find(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GOPRIVATE=corp.example", "GOPROXY=https://corp.example"} {
		if !slices.Contains(tool.Fetch, want) {
			t.Errorf("%s is missing in %v", want, tool.Fetch)
		}
	}
}

func TestFindTellsCodegenFromFetching(t *testing.T) {
	tool, err := Find(t.Context(), []string{"GOAMD64=v3", "GOARM64=v8.1", "GOPROXY=https://mine.example", "GIT_SSH_COMMAND=ssh -i key"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"GOAMD64=v3", "GOARM64=v8.1"}; !slices.Equal(tool.Codegen, want) {
		t.Errorf("codegen %v, want %v", tool.Codegen, want)
	}
	if env := tool.Env(Dirs{}); last(env, "GOPROXY") != "https://mine.example" || last(env, "GIT_SSH_COMMAND") != "ssh -i key" {
		t.Errorf("the operator's variables are not in %v", env)
	}
}

func TestFindRefusesVariablesThatAreSetForEachBuild(t *testing.T) {
	for _, extra := range []string{"GOFLAGS=-race", "GOCACHE=/tmp", "CGO_ENABLED=1", "GOOS=plan9", "NOVALUE", "=x"} {
		if _, err := Find(t.Context(), []string{extra}, nil); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%s: %v", extra, err)
		}
	}
}

func TestFindSaysWhatToDoWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Find(t.Context(), nil, nil)
	if err == nil || k6x.AsError(err).Hint == "" {
		t.Errorf("got %v, want an error with a hint", err)
	}
}

func TestEnvHasNothingOfTheCallersButFetching(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "hunter2")
	t.Setenv("GOFLAGS", "-race")
	t.Setenv("NETRC", "/somewhere/netrc")
	tool, err := Find(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dirs := Dirs{Home: "/h", ModCache: "/m", Cache: "/c", Temp: "/t"}
	env := tool.Env(dirs, "GOOS=plan9", "GOTOOLCHAIN=go1.25.0")
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "SECRET_TOKEN=") }) {
		t.Error("a variable of the caller's got through")
	}
	for key, want := range map[string]string{
		"HOME": "/h", "GOMODCACHE": "/m", "GOCACHE": "/c", "GOTMPDIR": "/t", "GOENV": "off", "GOFLAGS": "",
		"NETRC": "/somewhere/netrc", "GOOS": "plan9", "GOTOOLCHAIN": "go1.25.0",
	} {
		if got := last(env, key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
}

func TestGoCommandAgreesWithEnv(t *testing.T) {
	tool, err := Find(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := MakeHome(dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool.Path, "env", "GOMODCACHE", "GOFLAGS", "GOVERSION", "GOTELEMETRY")
	cmd.Dir = dir
	cmd.Env = tool.Env(Dirs{Home: dir, ModCache: filepath.Join(dir, "mod"), Cache: filepath.Join(dir, "cache"), Temp: dir})
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "mod") + "\n\n" + tool.Version + "\noff\n"; string(out) != want {
		t.Errorf("go env says %q, want %q", out, want)
	}
}

func TestPlatformsHaveTheUsualOnes(t *testing.T) {
	tool, err := Find(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := tool.Platforms(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range k6x.DefaultPlatforms() {
		if !slices.Contains(list, p) {
			t.Errorf("%s is missing", p)
		}
	}
}

func TestIsRelease(t *testing.T) {
	for version, want := range map[string]bool{
		"go1.26.8": true, "go1.21": true, "go1.27rc1": true,
		"": false, "go2": false, "devel go1.27-abc": false, "go1.26.8 X:boringcrypto": false, "go1.26.8+auto": false, "local": false,
	} {
		if IsRelease(version) != want {
			t.Errorf("IsRelease(%q) is %v", version, !want)
		}
	}
}

// last returns the value of the last key in env, which is the one that counts.
func last(env []string, key string) string {
	value := "(unset)"
	for _, kv := range env {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			value = v
		}
	}
	return value
}

// The go command may be replaced while a service runs, or go away.
func TestCheckTellsOfAGoCommandThatIsAnotherByNow(t *testing.T) {
	tool, err := Find(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tool.Check(t.Context()); err != nil {
		t.Error(err)
	}
	other := *tool
	other.Version = "go1.2.3"
	if err := other.Check(t.Context()); err == nil || !strings.Contains(err.Error(), tool.Version) || !strings.Contains(err.Error(), "go1.2.3") {
		t.Errorf("got %v", err)
	}
	other.Path = filepath.Join(t.TempDir(), "go")
	if err := other.Check(t.Context()); err == nil || strings.Contains(err.Error(), other.Path) {
		t.Errorf("got %v", err)
	}
}
