package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	// commands in texts end with the line, or where something else begins; in YAML they are lists
	typed  = regexp.MustCompile(`\bk6x ((?:service|worker|workers|preload|cache) [^\n` + "`" + `#|&;)]*)`)
	listed = regexp.MustCompile(`(?:args|command|CMD)[: ]+\[((?:service|worker|workers|preload)\b[^\]]*)\]`)

	variable = regexp.MustCompile(`\bK6X_[A-Z0-9_]*[A-Z0-9]`)
)

// What examples and documents say to k6x it understands: commands, flags and variables.
func TestExamplesSayWhatK6xUnderstands(t *testing.T) {
	root := newRoot()
	known := []string{"K6X_BUILDER_TOKEN", "K6X_WORKER_TOKEN"}
	var add func(cmd *cobra.Command)
	add = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			known = append(known, "K6X_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
		})
		for _, sub := range cmd.Commands() {
			add(sub)
		}
	}
	add(root)
	commands, variables := 0, 0
	for _, dir := range []string{"../../examples", "../../docs", "../../README.md", "../../Caddyfile.example", "../../Containerfile"} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || slices.Contains([]string{".png", ".go", ".sum"}, filepath.Ext(name)) {
				return err
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text := strings.ReplaceAll(string(data), "\\\n", " ")
			for _, found := range variable.FindAllString(text, -1) {
				variables++
				if !slices.Contains(known, found) {
					t.Errorf("%s: %s is no variable of k6x", name, found)
				}
			}
			for _, m := range typed.FindAllStringSubmatch(text, -1) {
				commands++
				if _, err := parse(strings.Fields(m[1])); err != nil {
					t.Errorf("%s: k6x %s: %v", name, m[1], err)
				}
			}
			for _, m := range listed.FindAllStringSubmatch(text, -1) {
				commands++
				words := strings.Split(m[1], ",")
				for i, word := range words {
					words[i] = strings.Trim(word, ` "`)
				}
				cmd, err := parse(words)
				if err == nil {
					err = cmd.ValidateArgs(cmd.Flags().Args())
				}
				if err != nil {
					t.Errorf("%s: %q: %v", name, words, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if commands < 20 || variables < 20 {
		t.Errorf("%d commands and %d variables are not all there are", commands, variables)
	}
}

// parse returns the command of a command line, whose flags it has.
func parse(words []string) (*cobra.Command, error) {
	cmd, args, err := newRoot().Find(words)
	if err != nil {
		return nil, err
	}
	if err := cmd.ParseFlags(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return nil, err
	}
	return cmd, nil
}

// What git leaves out, tokens of the examples among it, is not sent to where an image is made.
func TestImagesAreMadeWithoutWhatGitLeavesOut(t *testing.T) {
	left, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	git, err := os.ReadFile("../../.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	for pattern := range strings.FieldsSeq(string(git)) {
		if !strings.HasPrefix(pattern, "/") {
			pattern = "**/" + pattern // in git's, that is in any directory
		}
		if !slices.Contains(strings.Split(string(left), "\n"), pattern) {
			t.Errorf(".dockerignore has no %s", pattern)
		}
	}
	for _, secret := range []string{"/examples/tokens/", "/examples/.env"} { // as examples/compose.yaml says
		if !slices.Contains(strings.Fields(string(git)), secret) {
			t.Errorf(".gitignore has no %s", secret)
		}
	}
}
