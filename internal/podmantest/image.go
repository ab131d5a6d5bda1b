package podmantest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// writeRoot writes a tar of the root of an image: the Go toolchain of this machine, the few
// programs that a build runs besides, and certificates.
func writeRoot(ctx context.Context, w io.Writer) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	buffered := bufio.NewWriterSize(w, 1<<20)
	r := root{tar.NewWriter(buffered), make(map[string]bool)}
	if err := r.addGo(strings.TrimSpace(string(out))); err != nil {
		return err
	}
	for _, name := range []string{"sh", "timeout"} {
		if err := r.addProgram(ctx, name); err != nil {
			return err
		}
	}
	if err := r.addFile("/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt"); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

type root struct {
	*tar.Writer
	have map[string]bool
}

// addGo adds what of a GOROOT is needed to build, below usr/local/go.
func (r root) addGo(goroot string) error {
	return filepath.WalkDir(goroot, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(goroot, file)
		if err != nil {
			return err
		}
		switch name := filepath.ToSlash(rel); {
		case name == "test", name == "doc", name == "api", name == "misc", name == "src/cmd", entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case entry.Type().IsRegular() && !strings.HasSuffix(name, "_test.go"):
			return r.addFile(file, "usr/local/go/"+name)
		}
		return nil
	})
}

// addProgram adds a program of this machine, and the libraries that it is linked with.
func (r root) addProgram(ctx context.Context, name string) error {
	file, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	if err := r.addFile(file, "usr/bin/"+name); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "ldd", file).CombinedOutput()
	if bytes.Contains(out, []byte("not a dynamic executable")) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ldd %s: %w: %s", file, err, out)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if filepath.IsAbs(word) {
			if err := r.addFile(word, word[1:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// addFile adds what is in a file, which may be a link, unless it is there.
func (r root) addFile(file, name string) error {
	if r.have[name] {
		return nil
	}
	r.have[name] = true
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := r.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(r, f)
	return err
}
