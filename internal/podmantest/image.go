package podmantest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const certificates = "/etc/ssl/certs/ca-certificates.crt"

// packRoot returns a command that writes a tar of the root of an image: the Go toolchain of this machine without what no build needs, the
// few programs that a build runs besides, with the libraries that they are linked with, and certificates.
func packRoot(ctx context.Context) (*exec.Cmd, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	goroot := strings.TrimSpace(string(out))[1:]
	args := []string{"--create", "--dereference", "--hard-dereference", "--directory=/", "--transform=s,^" + goroot + ",usr/local/go,",
		"--exclude=*_test.go", "--exclude=testdata"}
	for _, name := range []string{"test", "doc", "api", "misc", "src/cmd"} {
		args = append(args, "--exclude="+goroot+"/"+name)
	}
	files := []string{goroot}
	for _, name := range []string{"sh", "timeout"} {
		file, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		libraries, err := exec.CommandContext(ctx, "ldd", file).CombinedOutput()
		if err != nil && !bytes.Contains(libraries, []byte("not a dynamic executable")) {
			return nil, fmt.Errorf("ldd %s: %w: %s", file, err, libraries)
		}
		for _, word := range append(strings.Fields(string(libraries)), file) {
			if filepath.IsAbs(word) {
				files = append(files, word[1:])
			}
		}
	}
	if _, err := os.Stat(certificates); err == nil {
		files = append(files, certificates[1:])
	}
	slices.Sort(files)
	return exec.CommandContext(ctx, "tar", append(args, slices.Compact(files)...)...), nil
}
