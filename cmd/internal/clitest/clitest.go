// Package clitest runs command lines in tests.
package clitest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"k6x/cmd/internal/cli"
	"k6x/event/bep"
	"k6x/event/bep/beptest"
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

// Get is a testscript command: URL, and perhaps a value of Accept, writes the body of the answer to stdout.
func Get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: get URL [ACCEPT]")
	}
	req, err := http.NewRequest(http.MethodGet, args[0], nil)
	ts.Check(err)
	req.Header["Accept"] = args[1:]
	resp, err := http.DefaultClient.Do(req)
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

// Events is a testscript command: FILE checks that a file of build events in JSON, or the only one of a directory, has a whole stream, which it
// writes to stdout.
func Events(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: events FILE")
	}
	name := ts.MkAbs(args[0])
	if files, err := filepath.Glob(filepath.Join(name, "*.json")); err == nil && len(files) > 0 {
		if name = files[0]; len(files) > 1 {
			ts.Fatalf("%d files", len(files))
		}
	}
	data, err := os.Open(name)
	ts.Check(err)
	defer data.Close()
	events, err := bep.ReadJSON(data)
	ts.Check(err)
	ts.Check(beptest.Check(events))
	for _, e := range events {
		line, err := bep.JSON(e)
		ts.Check(err)
		_, err = ts.Stdout().Write(line)
		ts.Check(err)
	}
}

// Readme has commands that README.md shows. Scripts of tests run them as they stand there, but for the words that stand for what the reader
// has (servers, versions), which a script replaces.
type Readme struct {
	commands []string

	mu  sync.Mutex // guards ran
	ran map[string]bool
}

// commandLine matches what a shell takes among the indented lines of README.md.
var commandLine = regexp.MustCompile(`^([A-Z][A-Z0-9_]*=('[^']*'|\S+) )*(export|go|curl|k6|k6x) `)

// ReadReadme reads the commands for which wanted is true. If the scripts of t run any of them, they have to run all.
func ReadReadme(t *testing.T, name string, wanted func(command string) bool) *Readme {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r := &Readme{ran: make(map[string]bool)}
	output := false // of a command with a prompt
	for line := range strings.SplitSeq(regexp.MustCompile(`\\\n +`).ReplaceAllString(string(data), ""), "\n") {
		command, indented := strings.CutPrefix(line, "    ")
		command, prompt := strings.CutPrefix(command, "$ ")
		output = indented && (output || prompt)
		if indented && (prompt || !output) && commandLine.MatchString(command) && wanted(command) {
			r.commands = append(r.commands, command)
		}
	}
	t.Cleanup(func() {
		for _, command := range r.commands {
			if len(r.ran) > 0 && !r.ran[command] {
				t.Errorf("no script runs this command of %s: %s", name, command)
			}
		}
	})
	return r
}

// Commands are the commands of scripts: as OLD NEW has NEW stand for OLD from then on, readme WORDS runs the commands that begin with
// these words, and readme-serve NAME WORDS ARGS... does with the one that does what serve does, with more arguments.
func (r *Readme) Commands(newRoot func() *cobra.Command) map[string]func(*testscript.TestScript, bool, []string) {
	serve := Serve(newRoot)
	return map[string]func(*testscript.TestScript, bool, []string){
		"as": func(ts *testscript.TestScript, _ bool, args []string) {
			if len(args) != 2 {
				ts.Fatalf("usage: as OLD NEW")
			}
			ts.Setenv("README_AS", args[0]+"\n"+args[1]+"\n"+ts.Getenv("README_AS")) // the last one counts
		},
		"readme": func(ts *testscript.TestScript, neg bool, args []string) {
			for _, command := range r.find(ts, args[0]) {
				if name, value, ok := strings.Cut(strings.TrimPrefix(command, "export "), "="); ok && strings.HasPrefix(command, "export ") {
					value, _, _ = strings.Cut(value, " ")
					ts.Setenv(name, value)
					continue
				}
				if err := ts.Exec("sh", "-c", command); (err != nil) != neg {
					ts.Fatalf("%s: %v", command, err)
				}
			}
		},
		"readme-serve": func(ts *testscript.TestScript, neg bool, args []string) {
			for _, command := range r.find(ts, args[1]) {
				command = regexp.MustCompile(`\s&(\s+#.*)?$`).ReplaceAllString(command, "")
				words, err := exec.Command("sh", "-c", `printf '%s\0' `+command).Output()
				ts.Check(err)
				line := strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00")
				serve(ts, neg, slices.Concat([]string{args[0]}, line[1:], args[2:]))
			}
		},
	}
}

// find returns the commands that begin with words, with what stands for others in them.
func (r *Readme) find(ts *testscript.TestScript, words string) (found []string) {
	as := strings.NewReplacer(strings.Split(strings.TrimSuffix(ts.Getenv("README_AS"), "\n"), "\n")...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, command := range r.commands {
		if strings.HasPrefix(command, words) {
			r.ran[command] = true
			found = append(found, as.Replace(command))
		}
	}
	if len(found) == 0 {
		ts.Fatalf("README.md has no command that begins with %s", words)
	}
	return found
}
