package source

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/internal/egress"
)

// origin is a git repository that a test writes.
type origin struct {
	t   *testing.T
	dir string
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("K6X_TEST_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip("no git on PATH: ", err)
	}
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	o := &origin{t, t.TempDir()}
	o.git("init", "--quiet", "--initial-branch=main")
	return o
}

func (o *origin) git(args ...string) string {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
	cmd.Dir = o.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits files, given as name and text, and returns the commit.
func (o *origin) commit(files ...string) string {
	o.t.Helper()
	for i := 0; i < len(files); i += 2 {
		file := filepath.Join(o.dir, files[i])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			o.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(files[i+1]), 0o644); err != nil {
			o.t.Fatal(err)
		}
	}
	o.git("add", "--all")
	o.git("commit", "--quiet", "--allow-empty", "--message=x")
	return o.git("rev-parse", "HEAD")
}

func (o *origin) url() string { return "file://" + filepath.ToSlash(o.dir) }

func parse(t *testing.T, text string) Source {
	t.Helper()
	s, err := Parse(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFetchTakesBranchesTagsAndCommits(t *testing.T) {
	o := newOrigin(t)
	first := o.commit("go.mod", "module example.com/a\n", "v", "1")
	o.git("tag", "v1.0.0")
	o.git("tag", "--annotate", "--message=x", "signed/v1")
	o.git("checkout", "--quiet", "-b", "feature/a")
	onBranch := o.commit("v", "2")
	o.git("update-ref", "refs/pull/12/head", onBranch)
	o.git("checkout", "--quiet", "main")
	newest := o.commit("v", "3")
	for ref, want := range map[string]string{
		"": newest, "#main": newest, "#v1.0.0": first, "#signed/v1": first, "#feature/a": onBranch, "#refs/pull/12/head": onBranch,
		"#" + first: first, "#" + first[:8]: first, "#" + onBranch[:12]: onBranch, "#" + newest: newest,
	} {
		dir := filepath.Join(t.TempDir(), "sub", "dir")
		code, err := Git{}.Resolve(t.Context(), parse(t, o.url()+ref), dir)
		if err != nil || code.Commit != want || code.Path != "example.com/a" || code.Dir != dir {
			t.Errorf("%s: %+v, %v, want %s", ref, code, err, want)
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "v"))
		if want := o.git("show", want+":v"); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v, want %s", ref, text, err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			t.Errorf("%s: the repository is still one", ref)
		}
		if !strings.HasSuffix(code.String(), "(commit "+want[:12]+")") {
			t.Errorf("it is shown as %s", code)
		}
	}
}

func TestFetchSaysWhatIsMissing(t *testing.T) {
	o := newOrigin(t)
	empty := o.url()
	for url, want := range map[string]struct {
		kind k6x.Kind
		text string
	}{
		empty:                       {k6x.NotFound, "is empty"},
		empty + "#main":             {k6x.NotFound, "has no branch, tag or commit main"},
		"file:///no/such/directory": {k6x.Unavailable, "cannot be fetched"},
	} {
		_, err := Git{}.Fetch(t.Context(), parse(t, url), t.TempDir())
		if k6x.KindOf(err) != want.kind || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v", url, err)
		}
	}
	o.commit("readme", "no module")
	for ref, kind := range map[string]k6x.Kind{"#other": k6x.NotFound, "#ai": k6x.NotFound, "#1234567": k6x.NotFound, "#" + long("12345678", 5): k6x.NotFound} {
		_, err := Git{}.Fetch(t.Context(), parse(t, o.url()+ref), t.TempDir())
		if k6x.KindOf(err) != kind || err == nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	_, err := Git{}.Resolve(t.Context(), parse(t, o.url()), t.TempDir())
	if k6x.KindOf(err) != k6x.Invalid || !strings.Contains(err.Error(), o.url()+" is not a Go module: it has no go.mod") {
		t.Errorf("got %v", err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (Git{}).Fetch(t.Context(), parse(t, o.url()), full); k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("into a directory with files: %v", err)
	}
	if _, err := (Git{Program: "no-such-git"}).Fetch(t.Context(), parse(t, o.url()), t.TempDir()); k6x.KindOf(err) != k6x.Unavailable || k6x.AsError(err).Hint == "" {
		t.Errorf("without git: %v", err)
	}
	if _, err := (Git{}).Fetch(t.Context(), parse(t, "./x"), t.TempDir()); k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("of a directory: %v", err)
	}
}

// TestNothingOfARepositoryIsRun has a user with filters and hooks, a repository that names
// them, and one with links and submodules.
func TestNothingOfARepositoryIsRun(t *testing.T) {
	o := newOrigin(t)
	o.commit("go.mod", "module example.com/a\n", "data.bin", "a\n$Id$\n", ".gitattributes", "* filter=evil text eol=crlf ident\n")
	inner := newOrigin(t)
	inner.commit("inside", "of the submodule")
	o.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.url(), "sub")
	if err := os.Symlink("/etc/passwd", filepath.Join(o.dir, "link")); err != nil {
		t.Skip("no links here: ", err)
	}
	o.commit()

	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	script := filepath.Join(dir, "script")
	hooks := filepath.Join(dir, "hooks")
	template := filepath.Join(dir, "template")
	for _, file := range []string{script, filepath.Join(hooks, "post-checkout"), filepath.Join(hooks, "reference-transaction"), filepath.Join(template, "hooks", "post-checkout")} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\ntouch "+ran+"\ncat\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte("[filter \"evil\"]\n\tsmudge = "+script+"\n\trequired = true\n[core]\n\thooksPath = "+hooks+
		"\n\tfsmonitor = "+script+"\n\tautocrlf = true\n[init]\n\ttemplateDir = "+template+"\n[submodule]\n\trecurse = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", config)
	t.Setenv("GIT_DIR", "/nowhere")
	t.Setenv("GIT_TEMPLATE_DIR", template)
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.worktree")
	t.Setenv("GIT_CONFIG_VALUE_0", "/nowhere")

	got := t.TempDir()
	if _, err := (Git{}).Fetch(t.Context(), parse(t, o.url()), got); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a hook or a filter was run")
	}
	if text, err := os.ReadFile(filepath.Join(got, "data.bin")); string(text) != "a\n$Id$\n" {
		t.Errorf("the bytes of a file are %q, %v", text, err)
	}
	if info, err := os.Lstat(filepath.Join(got, "link")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the link is %v, %v", info, err)
	}
	if entries, _ := os.ReadDir(filepath.Join(got, "sub")); len(entries) > 0 {
		t.Errorf("the submodule has %v", entries)
	}
}

// TestProtocolsThatRunCommandsAreNotSpoken has a user whose configuration turns a host into a command.
func TestProtocolsThatRunCommandsAreNotSpoken(t *testing.T) {
	newOrigin(t)
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	config := filepath.Join(dir, "config")
	text := "[url \"ext::sh -c touch% " + ran + " \"]\n\tinsteadOf = https://evil.example/\n[protocol \"ext\"]\n\tallow = always\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", config)
	_, err := Git{}.Fetch(t.Context(), parse(t, "https://evil.example/x"), t.TempDir())
	if k6x.KindOf(err) != k6x.Unavailable {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a command was run")
	}
}

func TestFetchByHTTPS(t *testing.T) {
	o := newOrigin(t)
	commit := o.commit("go.mod", "module example.com/a\n")
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("this git cannot serve: ", err)
	}
	serve := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + o.dir, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/private") {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		serve.ServeHTTP(w, r)
	}))
	defer server.Close()
	t.Setenv("GIT_SSL_CAINFO", certificate(t, server))
	network, err := egress.Start(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	if err := network.Check("127.0.0.1/x"); err == nil {
		t.Error("the host is named before anybody has typed it")
	}
	for _, ref := range []string{"", "#main", "#" + commit, "#" + commit[:10]} {
		for _, g := range []Git{{}, {Egress: network}} {
			got, err := g.Fetch(t.Context(), parse(t, server.URL+"/.git"+ref), t.TempDir())
			if err != nil || got != commit {
				t.Errorf("%s: %s, %v", ref, got, err)
			}
		}
	}
	network.Close()
	if _, err := (Git{Egress: network}).Fetch(t.Context(), parse(t, server.URL+"/.git"), t.TempDir()); k6x.KindOf(err) != k6x.Unavailable {
		t.Errorf("git went another way: %v", err)
	}
	_, err = Git{}.Fetch(t.Context(), parse(t, server.URL+"/private"), t.TempDir())
	if k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), "could not read Username") {
		t.Errorf("a repository that asks who it is: %v", err)
	}
}

func TestFetchIsBounded(t *testing.T) {
	// Who listens and says nothing.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	connected := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			connected <- conn
		}
	}()
	o := newOrigin(t)
	s := parse(t, "git://"+mute.Addr().String()+"/x")
	if _, err := (Git{Timeout: 100 * time.Millisecond}).Fetch(t.Context(), s, t.TempDir()); k6x.KindOf(err) != k6x.Timeout {
		t.Errorf("got %v, want a timeout", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for len(connected) > 0 {
		(<-connected).Close()
	}
	var conn net.Conn
	go func() {
		conn = <-connected
		cancel()
	}()
	_, err = Git{}.Fetch(ctx, s, t.TempDir())
	if k6x.KindOf(err) != k6x.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was canceled", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("git is still there: %v", err)
	}

	o.commit("go.mod", "module example.com/a\n", "large", long("x", 1<<20))
	if _, err := (Git{Max: 1 << 20}).Fetch(t.Context(), parse(t, o.url()), t.TempDir()); k6x.KindOf(err) != k6x.Forbidden {
		t.Errorf("got %v, want that it is too large", err)
	}
	many := []string{"go.mod", "module example.com/a\n"}
	for i := range 200 {
		many = append(many, fmt.Sprintf("f%d", i), "")
	}
	if err := os.Remove(filepath.Join(o.dir, "large")); err != nil {
		t.Fatal(err)
	}
	o.commit(many...)
	if _, err := (Git{Max: 1 << 19}).Fetch(t.Context(), parse(t, o.url()), t.TempDir()); k6x.KindOf(err) != k6x.Forbidden {
		t.Errorf("got %v, want that it has too many files", err)
	}
}

func TestWatchSizeCancelsWhatGrows(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := watchSize(ctx, dir, 50_000, cancel)
	<-ctx.Done()
	stop()
	if !errors.Is(context.Cause(ctx), errTooLarge) {
		t.Errorf("got %v", context.Cause(ctx))
	}
}

func certificate(t *testing.T, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
