package command

import (
	"maps"
	"slices"
	"strings"
)

// Flag is a flag that k6 has.
type Flag struct {
	Name  string // without dashes
	Short string // one letter, or ""
	Value bool   // it takes the next argument as its value, unless that is in the same one
}

// Flags returns the flags that a command of k6 is known to have, which is named as in
// [Command].Name, those for all commands among them. They are those of k6 v0.52 to v1.8.1.
func Flags(command string) []Flag { return slices.Concat(global, commands[command].flags) }

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

// flags reads a table of flags: NAME, or NAME,LETTER; one that takes a value has a = behind it.
func flags(tables ...string) (list []Flag) {
	for _, word := range strings.Fields(strings.Join(tables, " ")) {
		name, value := strings.CutSuffix(word, "=")
		name, short, _ := strings.Cut(name, ",")
		list = append(list, Flag{name, short, value})
	}
	return list
}

type spec struct {
	script bool // takes a script or archive
	flags  []Flag
}

// commands are those of k6, by internal/cmd there.
var commands = map[string]spec{
	"archive":      {true, flags(options, runtime, "archive-out,O= exclude-env-vars")},
	"cloud":        {true, flags(options, runtime, cloud)},
	"cloud run":    {true, flags(options, runtime, cloud, "local-execution linger no-usage-report no-archive-upload")},
	"cloud upload": {true, flags(options, runtime, cloud)},
	"cloud login":  {false, flags(login, "stack=")},
	"deps":         {true, flags(runtime, "json")},
	"inspect":      {true, flags(runtime, "execution-requirements")},
	"run":          {true, flags(options, runtime, "out,o= linger,l no-usage-report")},

	"completion":     {},
	"help":           {},
	"login":          {},
	"login cloud":    {false, flags(login)},
	"login influxdb": {},
	"new":            {false, flags("force,f template= project-id=")},
	"pause":          {},
	"resume":         {},
	"scale":          {false, flags("vus,u= max,m=")},
	"stats":          {},
	"status":         {},
	"version":        {false, flags("json")},
	"x":              {},
}

// global are those of all commands; version is one without a command only.
var global = flags("address,a= config,c= help,h log-format= log-output= no-color profiling-enabled quiet,q secret-source= verbose,v version")

const (
	// options are those of a test. The value of http-debug, if any, is in the same argument.
	options = `batch= batch-per-host= blacklist-ip= block-hostnames= console-output= discard-response-bodies dns= duration,d=
		execution-segment= execution-segment-sequence= http-debug insecure-skip-tls-verify iterations,i= local-ips= max-redirects=
		min-iteration-duration= no-connection-reuse no-setup no-teardown no-vu-connection-reuse paused,p rps= stage,s=
		summary-time-unit= summary-trend-stats= system-tags= tag= throw,w user-agent= vus,u=`

	// runtime says how a script is read and what is made of its results.
	runtime = `compatibility-mode= env,e= include-system-env-vars new-machine-readable-summary no-summary no-thresholds
		summary-export= summary-mode= traces-output= type,t=`

	cloud = "exit-on-running show-logs upload-only"
	login = "reset,r show,s token,t="
)
