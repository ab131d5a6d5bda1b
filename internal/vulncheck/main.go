// Command vulncheck runs govulncheck on this module, for each system that k6x runs on. It fails if code
// with a known vulnerability is called that a newer dependency mends, or a newer Go in the toolchain line of
// go.mod; everything else that it finds is printed. Tool and database are modules of the versions below: a new
// one of the database is what brings new findings.
//
// Packages that are imported are found in seconds. What is called of them takes govulncheck minutes to find
// out, and is asked only if it matters.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/mod/modfile"
)

const (
	tool     = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
	database = "golang.org/x/vulndb@v0.0.0-20261105234957-e22db6528018"
)

var systems = []string{"linux", "darwin", "windows"}

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vulncheck:", err)
		os.Exit(1)
	}
}

func run(stdout io.Writer) error {
	toolchain, err := toolchainLine("go.mod")
	if err != nil {
		return err
	}
	bin, err := os.MkdirTemp("", "vulncheck-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	s, err := prepare(bin)
	if err != nil {
		return err
	}
	here, err := s.scan("package")
	if err != nil {
		return err
	}
	for _, f := range here {
		if f.module == stdlib {
			fmt.Fprintf(stdout, "the Go that runs here: %s\n", f)
		}
	}
	for _, system := range systems {
		env := []string{"GOOS=" + system, "GOVERSION=" + toolchain} // whichever Go runs here
		found, err := s.scan("package", env...)
		if err == nil && slices.ContainsFunc(found, finding.mendable) {
			found, err = s.scan("symbol", env...)
		}
		if err != nil {
			return err
		}
		for _, f := range found {
			fmt.Fprintf(stdout, "%s: %s\n", system, f)
		}
		if slices.ContainsFunc(found, finding.fails) {
			return errors.New("go get the version that mends what is called, or raise the toolchain line of go.mod")
		}
	}
	return nil
}

// toolchainLine returns the Go that a go.mod file asks for.
func toolchainLine(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	mod, err := modfile.Parse(name, data, nil)
	if err != nil {
		return "", err
	}
	if mod.Toolchain == nil {
		return "", fmt.Errorf("%s has no toolchain line", name)
	}
	return mod.Toolchain.Name, nil
}

// scanner is a govulncheck and what it knows.
type scanner struct{ tool, data string }

// prepare installs govulncheck in bin and downloads its database, which govulncheck also takes as it is in
// the module: a directory of OSV files without an index.
func prepare(bin string) (scanner, error) {
	if _, err := output([]string{"GOBIN=" + bin, "GOOS=", "GOARCH="}, "go", "install", tool); err != nil {
		return scanner{}, err
	}
	said, err := output(nil, "go", "mod", "download", "-json", database)
	if err != nil {
		return scanner{}, err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(said, &module); err != nil {
		return scanner{}, err
	}
	return scanner{filepath.Join(bin, "govulncheck"), filepath.Join(module.Dir, "data", "osv")}, nil
}

// scan returns what is found at a level: package or symbol.
func (s scanner) scan(level string, env ...string) ([]finding, error) {
	said, err := output(env, s.tool, "-db", "file://"+filepath.ToSlash(s.data), "-scan", level, "-format", "json", "./...")
	if err != nil {
		return nil, err
	}
	return read(bytes.NewReader(said))
}

// output runs a program and returns what it prints.
func output(env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		// The go command tells with -json on its output what went wrong.
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, cmp.Or(problems.String(), string(out)))
	}
	return out, nil
}
