package xk6

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"k6x/builder/internal/workdir"
	"k6x/internal/warmcache"
)

// standin is the variable that makes this program an xk6. Its value is what sort of one.
const standin = "K6X_TEST_XK6"

func TestMain(m *testing.M) {
	if mode := os.Getenv(standin); mode != "" {
		if err := pretend(mode, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "ERR", err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "xk6")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cacheDir = dir
	if err := warmcache.CopyStandard(filepath.Join(dir, "gocache")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = workdir.RemoveAll(dir)
	os.Exit(code)
}

// pretend does what xk6 does for the arguments that the engine gives it.
func pretend(mode string, args []string) error {
	if mode == "sleep" {
		fmt.Println("go: downloading slowly")
		time.Sleep(time.Hour)
	}
	show := mode == "old" // what the go command says; newer ones do so only if they are asked
	if len(args) < 2 || args[0] != "build" {
		return fmt.Errorf("unknown command %q", args)
	}
	k6, output := args[1], ""
	var with []string
	for args = args[2:]; len(args) > 0; args = args[1:] {
		switch args[0] {
		case "--with":
			with = append(with, args[1])
			args = args[1:]
		case "--output":
			output = args[1]
			args = args[1:]
		case "--verbose":
			if mode == "old" {
				return fmt.Errorf("unknown flag: --verbose")
			}
			show = true
		default:
			return fmt.Errorf("unknown flag: %s", args[0])
		}
	}
	switch mode {
	case "garbage":
		return os.WriteFile(output, []byte("#!/bin/sh\n"), 0o755)
	case "nothing":
		return nil
	case "other version":
		with = []string{strings.Replace(with[0], "v0.1.0", "v0.1.1", 1)}
	case "other platform":
		os.Setenv("GOOS", map[bool]string{true: "linux", false: "windows"}[runtime.GOOS == "windows"])
	case "no extension":
		with = nil
	case "flood":
		for range 100_000 {
			fmt.Println(strings.Repeat("x", 100))
		}
		return fmt.Errorf("the flood is over")
	case "hang":
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), standin+"=sleep")
		child.Stdout = os.Stdout
		if err := child.Run(); err != nil {
			return err
		}
	}
	return build(k6, with, output, show)
}

func build(k6 string, with []string, output string, show bool) error {
	dir, err := os.MkdirTemp("", "xk6")
	if err != nil {
		return err
	}
	goCommand := func(args ...string) error {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		if show {
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		}
		return cmd.Run()
	}
	fmt.Println("INF Building new k6 binary")
	path := "go.k6.io/k6"
	if strings.HasPrefix(k6, "v2") {
		path += "/v2"
	}
	source := "package main\n\nimport (\n\t\"" + path + "/cmd\"\n"
	requires := []string{"mod", "edit", "-require=" + path + "@" + k6}
	for _, m := range with {
		name, _, _ := strings.Cut(m, "@")
		source += "\t_ \"" + name + "\"\n"
		requires = append(requires, "-require="+m)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source+")\n\nfunc main() { cmd.Execute() }\n"), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"mod", "init", "k6"}, requires, {"mod", "tidy"}, {"build", "-trimpath", "-ldflags=-s -w", "-buildvcs=false", "-o", output},
	} {
		if err := goCommand(args...); err != nil {
			return fmt.Errorf("executing go command: %w", err)
		}
	}
	return nil
}
