package gotool

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// A developer's own builds get at repositories as the developer's git does.
func TestWhatTheUserHasForGitIsPassedOn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths are those of Unix")
	}
	home := t.TempDir()
	program := filepath.Join(home, "bin", "askpass")
	for _, dir := range []string{filepath.Dir(program), filepath.Join(home, ".config")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{program, filepath.Join(home, ".gitconfig"), filepath.Join(home, ".gitconfig-work")} {
		if err := os.WriteFile(name, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	set := map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": "", "GIT_CONFIG_GLOBAL": "", "GIT_CONFIG_NOSYSTEM": "1",
		"GIT_ASKPASS": program, "SSH_AUTH_SOCK": "/run/agent", "GIT_SSH_COMMAND": "ssh -i " + home + "/key -F '/etc/my ssh'", "GIT_SSL_CERT": "/my/cert",
		"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "url.ssh://git@corp.test/.insteadOf", "GIT_CONFIG_VALUE_0": "https://git.test/",
		"GIT_CONFIG_KEY_1": "url./mirror/.insteadOf", "GIT_CONFIG_VALUE_1": "https://mirror.test/",
		"GIT_DIR": "/elsewhere", "GIT_WORK_TREE": "/elsewhere", "GIT_EXTERNAL_DIFF": "/bin/evil",
	}
	for key, value := range set {
		t.Setenv(key, value)
	}
	own := ReadOwn()
	for key, value := range set {
		want := value != "" && key != "HOME" && key != "GIT_DIR" && key != "GIT_WORK_TREE" && key != "GIT_EXTERNAL_DIFF"
		if got := slices.Contains(own.Env, key+"="+value); got != want {
			t.Errorf("%s is passed on: %v, want %v", key, got, want)
		}
	}
	if !slices.Contains(own.Env, "GIT_CONFIG_GLOBAL="+home+"/.gitconfig") {
		t.Errorf("the configuration is not named: %q", own.Env)
	}
	for _, file := range []string{program, home + "/key", "/my/cert", home + "/.gitconfig-work", home + "/.git-credentials", home + "/.ssh"} {
		if !slices.Contains(own.Files, file) {
			t.Errorf("%s is not among %q", file, own.Files)
		}
	}
	if policy := (&Tool{Personal: true}).FetchPolicy(Dirs{}, ""); !slices.Contains(policy.Exec, program) {
		t.Errorf("%s may not be run: %q", program, policy.Exec)
	}
	if policy := (&Tool{}).FetchPolicy(Dirs{}, ""); slices.Contains(policy.Exec, program) {
		t.Error("a service may run programs of its user")
	}
	if _, err := exec.LookPath("git"); err == nil {
		if !slices.Equal(own.Protocols, []string{"file", "ssh"}) || !slices.Equal(own.Hosts, []string{"corp.test"}) || !slices.Contains(own.Files, "/mirror/") {
			t.Errorf("protocols %q, hosts %q, files %q", own.Protocols, own.Hosts, own.Files)
		}
	}

	// The home directory of the go command leads to the same files.
	dir := filepath.Join(t.TempDir(), "home")
	for range 2 {
		if err := MakeHome(dir, own.Files...); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{".gitconfig-work": "/.gitconfig-work", ".config/git": "/.config/git"} {
		if got, err := os.Readlink(filepath.Join(dir, name)); err != nil || got != home+want {
			t.Errorf("%s leads to %s, %v", name, got, err)
		}
	}
}
