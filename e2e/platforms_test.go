package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Each platform takes a cold build: two besides this one are built at every change, and none where people test.
func TestPlatformsBuild(t *testing.T) {
	platforms := map[string]string{
		"linux/amd64":   "ELF 64-bit LSB executable, x86-64",
		"linux/arm64":   "ELF 64-bit LSB executable, ARM aarch64",
		"windows/amd64": "PE32+ executable (console) x86-64",
		"windows/arm64": "PE32+ executable (console) Aarch64",
		"darwin/amd64":  "Mach-O 64-bit x86_64 executable",
		"darwin/arm64":  "Mach-O 64-bit arm64 executable",
	}
	switch {
	case nightly:
	case full:
		maps.DeleteFunc(platforms, func(platform, _ string) bool {
			return platform != runtime.GOOS+"/"+runtime.GOARCH && platform != "windows/amd64" && platform != "darwin/arm64"
		})
	default:
		t.Skip("SKIPPED: cold builds for other platforms are left to K6X_TEST_FULL=1, six of them to K6X_TEST_NIGHTLY=1")
	}
	file := program(t, "file")
	s := start(t, warmDir(t))
	for platform, want := range platforms {
		t.Run(platform, func(t *testing.T) {
			a := fetch(t, s.url+"/"+platform+"/"+redisList)
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
