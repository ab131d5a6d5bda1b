package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// A platform that nothing was built for takes a cold build. Of the real k6 it is left to .ci/nightly: at every change stand-ins for k6
// and an extension show the same of two platforms besides this one.
func TestPlatformsBuild(t *testing.T) {
	forFull(t)
	t.Parallel()
	platforms := map[string]string{
		"linux/amd64":   "ELF 64-bit LSB executable, x86-64",
		"linux/arm64":   "ELF 64-bit LSB executable, ARM aarch64",
		"windows/amd64": "PE32+ executable (console) x86-64",
		"windows/arm64": "PE32+ executable (console) Aarch64",
		"darwin/amd64":  "Mach-O 64-bit x86_64 executable",
		"darwin/arm64":  "Mach-O 64-bit arm64 executable",
	}
	file := program(t, "file")
	list, cmd := redisList, (*exec.Cmd)(nil)
	if nightly {
		cmd = serviceCommand(warmDir(t))
	} else {
		maps.DeleteFunc(platforms, func(platform, _ string) bool {
			return platform != runtime.GOOS+"/"+runtime.GOARCH && platform != "windows/amd64" && platform != "darwin/arm64"
		})
		dir := coldDir(t)
		if err := warmcache.CopyStandard(filepath.Join(dir, "go", "gocache")); err != nil {
			t.Fatal(err)
		}
		list, cmd = "k6@v1.0.0,example.com/xk6-hello@v0.1.0", serviceCommand(dir, "--allow-modules", "example.com/*")
		cmd.Env = append(os.Environ(), "GOPROXY="+testmod.Serve(t, "../testdata/standin"), "GOSUMDB=off")
	}
	s := launch(t, cmd)
	for platform, want := range platforms {
		t.Run(platform, func(t *testing.T) {
			a := fetch(t, s.url+"/"+platform+"/"+list)
			name := filepath.Join(t.TempDir(), "binary")
			if err := os.WriteFile(name, a.body, 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(file, name).Output()
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s, %v, want %s", out, err, want)
			}
			exe := strings.HasPrefix(platform, "windows/")
			if got := a.header.Get("Content-Disposition"); strings.Contains(got, "k6.exe") != exe {
				t.Errorf("Content-Disposition %s", got)
			}
		})
	}
}
