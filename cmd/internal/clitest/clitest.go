// Package clitest runs command lines in tests.
package clitest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"k6x/cmd/internal/cli"
)

// Serve is a testscript command: NAME COMMAND ARGS... runs a server in this process until the
// script ends, and sets NAME to its URL and NAME_LOG to the file of its log.
func Serve(newRoot func() *cobra.Command) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: serve NAME COMMAND ARGS...")
		}
		log, err := os.Create(ts.MkAbs(args[0] + ".log"))
		ts.Check(err)
		ctx, stop := context.WithCancel(context.Background())
		read, write := io.Pipe()
		ended := make(chan int, 1)
		go func() {
			code := cli.Run(ctx, newRoot(), args[1:], write, log)
			write.Close()
			ended <- code
		}()
		ts.Defer(func() {
			stop()
			if code := <-ended; code != cli.ExitOK {
				text, _ := os.ReadFile(log.Name())
				ts.Logf("%s ended with %d:\n%s", args[1], code, text)
			}
			log.Close()
		})
		lines := bufio.NewReader(read)
		line, err := lines.ReadString('\n')
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			ts.Fatalf("%s did not start: %v\n%s", args[1], err, text)
		}
		go func() { _, _ = io.Copy(io.Discard, lines) }()
		ts.Setenv(args[0], regexp.MustCompile(`http://\S+`).FindString(line))
		ts.Setenv(args[0]+"_LOG", log.Name())
	}
}

// Get is a testscript command: URL writes the body of the answer to stdout.
func Get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: get URL")
	}
	resp, err := http.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("%s: %s", args[0], resp.Status)
	}
}

// Platform is a testscript command: FILE PLATFORM checks that a binary was made for it.
func Platform(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: platform FILE PLATFORM")
	}
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	magic := map[string]string{"linux": "\x7fELF", "windows": "MZ", "darwin": "\xcf\xfa\xed\xfe"}[filepath.Dir(args[1])]
	if magic == "" || !strings.HasPrefix(string(data), magic) {
		ts.Fatalf("%s is not for %s", args[0], args[1])
	}
}

// HelpFits checks that no help of a program has lines that do not fit a terminal.
func HelpFits(t *testing.T, newRoot func() *cobra.Command) {
	var check func(path []string, cmd *cobra.Command)
	check = func(path []string, cmd *cobra.Command) {
		var out strings.Builder
		if code := cli.Run(t.Context(), newRoot(), append(path, "--help"), &out, &out); code != cli.ExitOK {
			t.Errorf("%s --help: exit code %d", path, code)
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 140 {
				t.Errorf("%s --help has a line of %d bytes: %s", path, len(line), line)
			}
		}
		for _, sub := range cmd.Commands() {
			check(append(slices.Clone(path), sub.Name()), sub)
		}
	}
	t.Setenv("XDG_CACHE_HOME", "/cache") // which the default of a flag shows
	check(nil, newRoot())
}
