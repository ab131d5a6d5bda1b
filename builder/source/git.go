package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/egress"
)

// Git fetches repositories with the git program. What it fetches is not trusted: no hook,
// filter or submodule of a repository is run or fetched, and its links are not followed.
type Git struct {
	Program string        // "": git on PATH
	Timeout time.Duration // of all that one Fetch does; 0: 5 minutes
	Max     int64         // bytes that a repository may take on disk; 0: 1 GiB
	Cage    *cage.Cage    // nil: git runs as this process does
	Egress  *egress.Proxy // the way to the network; nil: git connects by itself
	Logger  *slog.Logger  // nil: nothing is logged
}

var (
	errTimeout  = errors.New("the repository took too long")
	errTooLarge = errors.New("the repository is too large")
)

var (
	commitSyntax = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
	digestSyntax = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
)

// Fetch puts the files of a git repository into dir, which it makes and which must not have
// files in it, and returns which commit they are of. If it fails, what is in dir is worth nothing;
// the caller removes it.
//
// Errors are of kind Invalid if dir is not fit, NotFound (no such branch, tag or commit),
// Unavailable (no git, or it cannot fetch the repository), Forbidden (too large), Timeout or Canceled;
// those of the file system are as they are.
func (g Git) Fetch(ctx context.Context, s Source, dir string) (commit string, err error) {
	if s.Remote == "" {
		return "", k6x.Errorf(k6x.Invalid, "%s is not a git repository", s)
	}
	program, err := exec.LookPath(cmp.Or(g.Program, "git"))
	if err != nil {
		return "", k6x.Errorf(k6x.Unavailable, "there is no git to fetch %s with", s).
			WithHint("Install git, or clone the repository elsewhere and name its directory.").WithCause(err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return "", k6x.Errorf(k6x.Invalid, "the directory for %s is not empty", s).WithCause(err)
	}
	timed, stop := context.WithTimeoutCause(ctx, cmp.Or(g.Timeout, 5*time.Minute), errTimeout)
	defer stop()
	timed, cancel := context.WithCancelCause(timed)
	defer cancel(nil)
	most := cmp.Or(g.Max, 1<<30)
	stopWatching := watchSize(timed, dir, most, cancel)
	defer stopWatching()

	if u, err := url.Parse(s.Remote); err == nil {
		g.Egress.Allow(u.Hostname()) // the user has typed it
	}
	g.Logger = cmp.Or(g.Logger, slog.New(slog.DiscardHandler))
	r := &repository{Git: g, program: program, dir: dir, source: s}
	commit, err = r.fetch(timed)
	if err == nil && size(dir, most) > most {
		err = errTooLarge // and done before it was noticed
	}
	if cause := context.Cause(timed); err != nil && cause != nil {
		err = cause
	}
	return commit, r.explain(ctx, err)
}

// repository is a clone that comes to be.
type repository struct {
	Git
	program string
	dir     string
	source  Source
}

var errNoRef = errors.New("no such branch, tag or commit")

// fetch does all that [Git.Fetch] does but for its bounds and the words of its errors.
func (r *repository) fetch(ctx context.Context) (commit string, err error) {
	if _, err := r.git(ctx, "init", "--quiet", "--template=", "."); err != nil {
		return "", err
	}
	// What stands here wins over the attributes in the repository, which could name a filter of the
	// user's configuration.
	info := filepath.Join(r.dir, ".git", "info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(info, "attributes"), []byte("* -filter -text -ident -working-tree-encoding\n"), 0o644); err != nil {
		return "", err
	}
	if err := r.download(ctx); err != nil {
		return "", err
	}
	out, err := r.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", "FETCH_HEAD^{commit}")
	if err != nil {
		return "", err
	}
	if commit = strings.TrimSpace(out); !digestSyntax.MatchString(commit) {
		return "", fmt.Errorf("git says that the commit is %q", commit)
	}
	if _, err := r.git(ctx, "checkout", "--quiet", "--force", "--detach", commit, "--"); err != nil {
		return "", err
	}
	return commit, os.RemoveAll(filepath.Join(r.dir, ".git")) // it is a module now, and git has no say any more
}

// download fetches the one commit that is asked for, so that FETCH_HEAD names it.
func (r *repository) download(ctx context.Context) error {
	ref := cmp.Or(r.source.Ref, "HEAD")
	out, err := r.git(ctx, "ls-remote", "--quiet", "--", r.source.Remote, ref)
	if err != nil {
		return err // there is no server, or it does not answer us
	}
	names := make(map[string]bool)
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) == 2 {
			names[words[1]] = true
		}
	}
	for _, name := range []string{ref, "refs/tags/" + ref, "refs/heads/" + ref} {
		if names[name] {
			return r.get(ctx, "--depth=1", name)
		}
	}
	if !commitSyntax.MatchString(ref) {
		return errNoRef
	}
	if digestSyntax.MatchString(ref) && r.get(ctx, "--depth=1", ref) == nil {
		return nil
	}
	// Some do not give away single commits, and none knows what a short one stands for.
	if err := r.get(ctx, "--tags", "+refs/heads/*:refs/remotes/origin/*"); err != nil {
		return err
	}
	out, err = r.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if err != nil {
		return errNoRef
	}
	return os.WriteFile(filepath.Join(r.dir, ".git", "FETCH_HEAD"), []byte(strings.TrimSpace(out)+"\n"), 0o644)
}

// get fetches refs of the remote.
func (r *repository) get(ctx context.Context, how, refs string) error {
	_, err := r.git(ctx, "fetch", "--quiet", "--no-recurse-submodules", how, "--", r.source.Remote, refs)
	return err
}

// gitError is a git that failed, and what it said.
type gitError struct {
	said string
	err  error
}

func (e *gitError) Error() string { return fmt.Sprintf("git: %v: %s", e.err, e.said) }
func (e *gitError) Unwrap() error { return e.err }

// git runs git in the repository and returns what it prints.
func (r *repository) git(ctx context.Context, args ...string) (string, error) {
	safe := []string{
		"-c", "core.hooksPath=.git/no-hooks", "-c", "core.symlinks=false", "-c", "core.fsmonitor=false", "-c", "core.autocrlf=false",
		"-c", "submodule.recurse=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "http.followRedirects=initial",
	}
	cmd := exec.CommandContext(ctx, r.program, slices.Concat(safe, args)...)
	cmd.Dir = r.dir
	cmd.Env = append(environment(r.source.Remote), r.Egress.Environ()...)
	out, said := &cage.Output{Max: 1 << 20}, &cage.Output{Max: 8 << 10}
	cmd.Stdout, cmd.Stderr = out, said
	r.Logger.Debug("git", "args", args)
	if err := r.Cage.Run(cmd, r.policy()); err != nil {
		return "", &gitError{said: strings.TrimSpace(said.String()), err: err}
	}
	return out.String(), nil
}

// policy lets git fetch for the user whose build this is, into its own directory.
func (r *repository) policy() cage.Policy {
	p := gotool.GitPolicy(r.program, r.dir)
	if u, err := url.Parse(r.source.Remote); err == nil && u.Scheme == "file" {
		p.Read = append(p.Read, filepath.FromSlash(u.Path))
	}
	return p
}

// environment returns this process's, without what would turn git to another repository, and
// with what keeps it from asking.
func environment(remote string) []string {
	var env []string
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		if runtime.GOOS == "windows" {
			key = strings.ToUpper(key)
		}
		if strings.HasPrefix(key, "GIT_") && !gotool.IsOwn(key) {
			continue
		}
		env = append(env, kv)
	}
	protocols := "git:https:ssh" // the user's configuration may turn one into another
	if strings.HasPrefix(remote, "file:") {
		protocols = "file"
	} else if more := gotool.ReadOwn().Protocols; len(more) > 0 {
		protocols += ":" + strings.Join(more, ":")
	}
	if os.Getenv("GIT_ALLOW_PROTOCOL") == "" {
		env = append(env, "GIT_ALLOW_PROTOCOL="+protocols)
	}
	env = append(env, "GIT_TERMINAL_PROMPT=0", "GIT_LFS_SKIP_SMUDGE=1",
		"GCM_INTERACTIVE=never", "LC_ALL=C")
	if os.Getenv("GIT_SSH") == "" && os.Getenv("GIT_SSH_COMMAND") == "" {
		env = append(env, "GIT_SSH_COMMAND="+gotool.SSHCommand)
	}
	return env
}

// explain returns the error for a user. Ctx is that of the caller.
func (r *repository) explain(ctx context.Context, err error) error {
	s := r.source
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return k6x.Errorf(k6x.Forbidden, "%s is larger than a repository may be here", s).
			WithHint("Clone it elsewhere and name its directory.").WithCause(err)
	case errors.Is(err, errTimeout):
		return k6x.Errorf(k6x.Timeout, "fetching %s took too long", s).
			WithHint("Try again, or clone it elsewhere and name its directory.").WithCause(err)
	case ctx.Err() != nil:
		return k6x.Errorf(k6x.KindOf(ctx.Err()), "fetching %s was stopped", s).WithCause(context.Cause(ctx))
	case errors.Is(err, errNoRef) && s.Ref == "":
		return k6x.Errorf(k6x.NotFound, "%s is empty", s)
	case errors.Is(err, errNoRef):
		return k6x.Errorf(k6x.NotFound, "%s has no branch, tag or commit %s", s.Remote, s.Ref)
	}
	said, ok := errors.AsType[*gitError](err)
	if !ok {
		return fmt.Errorf("fetching %s: %w", s, err)
	}
	if refused := r.Egress.Explain(said.said); refused != nil {
		refused.Message = fmt.Sprintf("%s cannot be fetched: %s", s, refused.Message)
		return refused.WithCause(err)
	}
	return k6x.Errorf(k6x.Unavailable, "%s cannot be fetched:\n%s", s, lastLines(said.said)).
		WithHint("Try what git says: git ls-remote %s", s.Remote).WithCause(err)
}

// lastLines returns the end of what git says.
func lastLines(text string) string {
	lines := strings.Split(text, "\n")
	return k6x.Printable(strings.Join(lines[max(0, len(lines)-10):], "\n"))
}
