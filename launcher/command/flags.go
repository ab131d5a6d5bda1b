package command

import (
	"maps"
	"slices"
)

// Flag is a flag that k6 has.
type Flag struct {
	Name  string // without dashes
	Short string // one letter, or ""
	Value bool   // it takes the next argument as its value, unless that is in the same one
}

// Flags returns the flags that a command of k6 is known to have, which is named as in
// [Command].Name, those for all commands among them. They are those of k6 v0.52 to v1.8.1.
func Flags(command string) []Flag {
	return slices.Concat(append([][]Flag{global}, commands[command].flags...)...)
}

// Commands returns the names of the commands that k6 is known to have, sorted.
func Commands() []string { return slices.Sorted(maps.Keys(commands)) }

// lookup returns the wanted flag of a command, or of any if that one does not have it: flags may stand
// before the command, and those that are known elsewhere mean the same in a command that is not known.
func lookup(command string, wanted func(Flag) bool) (Flag, bool) {
	for _, name := range append([]string{command}, Commands()...) {
		flags := Flags(name)
		if i := slices.IndexFunc(flags, wanted); i >= 0 {
			return flags[i], true
		}
	}
	return Flag{}, false
}

type spec struct {
	script bool // takes a script or archive
	flags  [][]Flag
}

// commands are those of k6, by internal/cmd there.
var commands = map[string]spec{
	"archive": {true, [][]Flag{options, runtime, {{"archive-out", "O", true}, {"exclude-env-vars", "", false}}}},
	"cloud":   {true, [][]Flag{options, runtime, cloud}},
	"cloud run": {true, [][]Flag{options, runtime, cloud, {{"local-execution", "", false}, {"linger", "", false},
		{"no-usage-report", "", false}, {"no-archive-upload", "", false}}}},
	"cloud upload": {true, [][]Flag{options, runtime, cloud}},
	"cloud login":  {false, [][]Flag{login, {{"stack", "", true}}}},
	"deps":         {true, [][]Flag{runtime, {{"json", "", false}}}},
	"inspect":      {true, [][]Flag{runtime, {{"execution-requirements", "", false}}}},
	"run": {true, [][]Flag{options, runtime, {{"out", "o", true}, {"linger", "l", false},
		{"no-usage-report", "", false}}}},

	"completion":     {},
	"help":           {},
	"login":          {},
	"login cloud":    {false, [][]Flag{login}},
	"login influxdb": {},
	"new":            {false, [][]Flag{{{"force", "f", false}, {"template", "", true}, {"project-id", "", true}}}},
	"pause":          {},
	"resume":         {},
	"scale":          {false, [][]Flag{{{"vus", "u", true}, {"max", "m", true}}}},
	"stats":          {},
	"status":         {},
	"version":        {false, [][]Flag{{{"json", "", false}}}},
	"x":              {},
}

var global = []Flag{
	{"address", "a", true},
	{"config", "c", true},
	{"help", "h", false},
	{"log-format", "", true},
	{"log-output", "", true},
	{"no-color", "", false},
	{"profiling-enabled", "", false},
	{"quiet", "q", false},
	{"secret-source", "", true},
	{"verbose", "v", false},
	{"version", "", false}, // without a command only
}

// options are those of a test.
var options = []Flag{
	{"batch", "", true},
	{"batch-per-host", "", true},
	{"blacklist-ip", "", true},
	{"block-hostnames", "", true},
	{"console-output", "", true},
	{"discard-response-bodies", "", false},
	{"dns", "", true},
	{"duration", "d", true},
	{"execution-segment", "", true},
	{"execution-segment-sequence", "", true},
	{"http-debug", "", false}, // its value, if any, is in the same argument
	{"insecure-skip-tls-verify", "", false},
	{"iterations", "i", true},
	{"local-ips", "", true},
	{"max-redirects", "", true},
	{"min-iteration-duration", "", true},
	{"no-connection-reuse", "", false},
	{"no-setup", "", false},
	{"no-teardown", "", false},
	{"no-vu-connection-reuse", "", false},
	{"paused", "p", false},
	{"rps", "", true},
	{"stage", "s", true},
	{"summary-time-unit", "", true},
	{"summary-trend-stats", "", true},
	{"system-tags", "", true},
	{"tag", "", true},
	{"throw", "w", false},
	{"user-agent", "", true},
	{"vus", "u", true},
}

// runtime says how a script is read and what is made of its results.
var runtime = []Flag{
	{"compatibility-mode", "", true},
	{"env", "e", true},
	{"include-system-env-vars", "", false},
	{"new-machine-readable-summary", "", false},
	{"no-summary", "", false},
	{"no-thresholds", "", false},
	{"summary-export", "", true},
	{"summary-mode", "", true},
	{"traces-output", "", true},
	{"type", "t", true},
}

var cloud = []Flag{
	{"exit-on-running", "", false},
	{"show-logs", "", false},
	{"upload-only", "", false},
}

var login = []Flag{
	{"reset", "r", false},
	{"show", "s", false},
	{"token", "t", true},
}
