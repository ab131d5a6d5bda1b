package clitest

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

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
