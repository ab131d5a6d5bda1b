package command_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k6x/launcher/command"
)

var (
	helpFlag    = regexp.MustCompile(`(?m)^ +(?:-(\w), |    )--([\w-]+)( \S)?`)
	helpCommand = regexp.MustCompile(`(?m)^  (\w+) {2,}\S`)
)

// The program named by K6X_TEST_K6 has no flag or command that is not known here, or known to be otherwise.
func TestFlagsAreThoseOfARealK6(t *testing.T) {
	k6 := os.Getenv("K6X_TEST_K6")
	if k6 == "" {
		t.Skip("SKIPPED: no k6 named by K6X_TEST_K6")
	}
	help := func(name string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), k6, append(strings.Fields(name), "--help")...).Output()
		if err != nil {
			t.Fatalf("k6 %s --help: %v", name, err)
		}
		return string(out)
	}
	for _, group := range []string{"", "cloud"} {
		_, list, _ := strings.Cut(help(group), "Commands:")
		list, _, _ = strings.Cut(list, "Flags:")
		found := helpCommand.FindAllStringSubmatch(list, -1)
		if len(found) < 3 {
			t.Errorf("only %v in the help of k6 %s", found, group)
		}
		for _, match := range found {
			if name := strings.TrimSpace(group + " " + match[1]); !slices.Contains(command.Commands(), name) {
				t.Errorf("%q is not a known command", name)
			}
		}
	}
	for name, least := range map[string]int{"run": 50, "archive": 50, "inspect": 18, "deps": 18, "cloud run": 50,
		"cloud upload": 45, "cloud login": 12, "new": 12, "x": 9, "version": 10} {
		found := helpFlag.FindAllStringSubmatch(help(name), -1)
		if len(found) < least {
			t.Errorf("only %d flags in the help of k6 %s", len(found), name)
		}
		for _, match := range found {
			want := command.Flag{Name: match[2], Short: match[1], Value: match[3] != "" && match[2] != "http-debug"}
			if !slices.Contains(command.Flags(name), want) {
				t.Errorf("k6 %s: %+v is not known", name, want)
			}
		}
	}
}
