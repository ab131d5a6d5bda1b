package command_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/launcher/command"
)

// flags are some of a launcher's own.
func flags() *pflag.FlagSet {
	own := pflag.NewFlagSet("k6x", pflag.ContinueOnError)
	own.Bool("clean", false, "")
	own.String("bin-dir", "", "")
	own.StringArray("with", nil, "")
	own.BoolP("help", "h", false, "")
	return own
}

// A line is split at spaces; "_" is an empty argument.
func split(line string) []string {
	words := strings.Fields(line)
	for i, w := range words {
		if w == "_" {
			words[i] = ""
		}
	}
	return words
}

func TestCommandLines(t *testing.T) {
	type C = command.Command
	for line, want := range map[string]C{
		"":                             {},
		"run script.js":                {Name: "run", Script: "script.js"},
		"run -":                        {Name: "run", Script: "-"},
		"run":                          {Name: "run"},
		"run a.js b.js":                {Name: "run"}, // k6 refuses it
		"run _":                        {Name: "run"},
		"archive -O out.tar script.js": {Name: "archive", Script: "script.js"},
		"inspect a.tar":                {Name: "inspect", Script: "a.tar"},
		"deps --json script.js":        {Name: "deps", Script: "script.js"},
		"version":                      {Name: "version"},
		"new script.js":                {Name: "new"},
		"--version":                    {Version: true},
		"help run":                     {Name: "help"},

		// Flags and their values.
		"run -u 2 -d 1s script.js":            {Name: "run", Script: "script.js"},
		"run script.js --vus 2":               {Name: "run", Script: "script.js"},
		"run --vus=2 script.js":               {Name: "run", Script: "script.js"},
		"run -u2 -i=3 script.js":              {Name: "run", Script: "script.js"},
		"run -qv script.js":                   {Name: "run", Script: "script.js", Quiet: true, Verbose: true},
		"run -pu 2 script.js":                 {Name: "run", Script: "script.js"},
		"run --http-debug script.js":          {Name: "run", Script: "script.js"},
		"run --http-debug=full script.js":     {Name: "run", Script: "script.js"},
		"run -e -v script.js":                 {Name: "run", Script: "script.js"},
		"run --tag --quiet script.js":         {Name: "run", Script: "script.js"},
		"run --no-color --verbose=false x.js": {Name: "run", Script: "x.js"},
		"run -v=false x.js":                   {Name: "run", Script: "x.js"},
		"run x.js -h":                         {Name: "run", Script: "x.js", Help: true},
		"run -- -v":                           {Name: "run", Script: "-v"},
		"run -u":                              {Name: "run"},
		"-v run x.js":                         {Name: "run", Script: "x.js", Verbose: true},
		"-c run run x.js":                     {Name: "run", Script: "x.js"},
		"--log-output=none -a :1 run x.js":    {Name: "run", Script: "x.js"},
		"--vus 2 -o json run x.js":            {Name: "run", Script: "x.js", Outputs: []string{"json"}},
		"-- run x.js":                         {},
		"run --summary-export -- script.js":   {Name: "run", Script: "script.js"},
		"run -o json -o=top -ocsv=a.csv x.js": {Name: "run", Script: "x.js", Outputs: []string{"json", "top", "csv=a.csv"}},
		"run x.js --out top --out=json=a -vo b": {Name: "run", Script: "x.js", Verbose: true,
			Outputs: []string{"top", "json=a", "b"}},
		"run x.js -o":  {Name: "run", Script: "x.js"},
		"new -o x":     {Name: "new"},
		"-o x unknown": {Name: "unknown"},

		// Commands of commands.
		"cloud script.js":                       {Name: "cloud", Script: "script.js"},
		"cloud -":                               {Name: "cloud", Script: "-"},
		"cloud run -v script.js":                {Name: "cloud run", Script: "script.js", Verbose: true},
		"cloud -u 5 run --local-execution x.js": {Name: "cloud run", Script: "x.js"},
		"cloud upload x.js":                     {Name: "cloud upload", Script: "x.js"},
		"cloud login -t token":                  {Name: "cloud login"},
		"cloud ./run":                           {Name: "cloud", Script: "./run"},
		"cloud x.js run":                        {Name: "cloud"},
		"cloud -- run":                          {Name: "cloud", Script: "run"},
		"cloud project list":                    {Name: "cloud project"}, // of a newer k6
		"login influxdb http://x":               {Name: "login influxdb"},

		// Subcommands of extensions.
		"x":                      {Name: "x"},
		"x help":                 {Name: "x"},
		"x --help":               {Name: "x", Help: true},
		"x sql --out a -v -- -q": {Name: "x", Subcommand: "sql"},
		"-v x -q sql":            {Name: "x", Subcommand: "sql", Verbose: true, Quiet: true},
		"x sql --help":           {Name: "x", Subcommand: "sql"},
		"x -- sql":               {Name: "x"},

		// Flags of a newer k6.
		"run --new script.js":           {Name: "run", Script: "script.js"},
		"run --new 5 script.js":         {Name: "run", Script: "script.js"},
		"run script.js --new 5":         {Name: "run", Script: "script.js"},
		"run --new=5 script.js":         {Name: "run", Script: "script.js"},
		"run --new -v script.js":        {Name: "run", Script: "script.js", Verbose: true},
		"run --new 5 --other script.js": {Name: "run", Script: "script.js"},
		"run -N script.js":              {Name: "run", Script: "script.js"},
		"run -N5 script.js":             {Name: "run", Script: "script.js"},
		"run -N=5 script.js":            {Name: "run", Script: "script.js"},
		"run --new -":                   {Name: "run", Script: "-"},
		"--new run script.js":           {Name: "run", Script: "script.js"},
		"--new 5 run script.js":         {Name: "run", Script: "script.js"},
		"cloud --new run script.js":     {Name: "cloud run", Script: "script.js"},
		"cloud --new 5 run script.js":   {Name: "cloud run", Script: "script.js"},
	} {
		args := split(line)
		got, err := command.Parse(args, flags())
		if err != nil {
			t.Errorf("k6 %s: %v", line, err)
			continue
		}
		want.Args = args
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("k6 %s: %s", line, diff)
		}
		if bare, err := command.Parse(args, nil); err != nil || !cmp.Equal(bare, got) {
			t.Errorf("k6 %s: without flags of our own: %+v, %v", line, bare, err)
		}
	}
}

func TestOwnFlagsAreTakenOut(t *testing.T) {
	for line, want := range map[string]struct{ k6, clean, dir, with string }{
		"run --clean x.js":                       {"run x.js", "true", "", "[]"},
		"--clean run x.js":                       {"run x.js", "true", "", "[]"},
		"run x.js --clean=false --bin-dir=d":     {"run x.js", "false", "d", "[]"},
		"run --bin-dir d x.js --with a --with=b": {"run x.js", "false", "d", "[a,b]"},
		"--with run run x.js":                    {"run x.js", "false", "", "[run]"},
		"run -e --clean x.js":                    {"run -e --clean x.js", "false", "", "[]"},
		"-e --clean run x.js":                    {"-e --clean run x.js", "false", "", "[]"},
		"run --tag=--clean x.js":                 {"run --tag=--clean x.js", "false", "", "[]"},
		"run -ve --clean x.js":                   {"run -ve --clean x.js", "false", "", "[]"},
		"run -- --clean":                         {"run -- --clean", "false", "", "[]"},
		"x --clean sql --with a":                 {"x sql --with a", "true", "", "[]"},
		"run --new --clean 5 x.js":               {"run --new 5 x.js", "true", "", "[]"},
		"run --cleaner x.js":                     {"run --cleaner x.js", "false", "", "[]"},
		"run --with= --bin-dir=-v x.js":          {"run x.js", "false", "-v", "[]"},
		"run --bin-dir - x.js":                   {"run x.js", "false", "-", "[]"},
		"-h run --help":                          {"-h run --help", "false", "", "[]"},
	} {
		own := flags()
		got, err := command.Parse(split(line), own)
		if err != nil {
			t.Errorf("k6x %s: %v", line, err)
			continue
		}
		if diff := cmp.Diff(split(want.k6), got.Args); diff != "" {
			t.Errorf("k6x %s: %s", line, diff)
		}
		for name, value := range map[string]string{"clean": want.clean, "bin-dir": want.dir, "with": want.with} {
			if f := own.Lookup(name); f.Value.String() != value {
				t.Errorf("k6x %s: --%s is %q, want %q", line, name, f.Value, value)
			}
		}
	}
}

func TestErrorsNameTheFlag(t *testing.T) {
	for line, want := range map[string]string{
		"run x.js --with":       "--with needs a value",
		"run --with --clean":    "--with needs a value, and --clean looks like a flag",
		"run --bin-dir -v x.js": "--bin-dir needs a value, and -v looks like a flag",
		"run --with -- x.js":    "--with needs a value, and -- looks like a flag",
		"run --clean=maybe":     `--clean cannot be "maybe": invalid syntax`,
		"run --new --with":      "--with needs a value",
	} {
		_, err := command.Parse(split(line), flags())
		if err == nil || err.Error() != want || k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("k6x %s: %v, want %s", line, err, want)
		}
	}
}

func TestArgumentsAreLeftAsTheyAre(t *testing.T) {
	args := []string{"run", "-e", "A=\xff b\n", "--tag", "", "--with", "k6/x/a", "sc ript.js"}
	before := strings.Join(args, "\x00")
	got, err := command.Parse(args, flags())
	want := []string{"run", "-e", "A=\xff b\n", "--tag", "", "sc ript.js"}
	if err != nil || !cmp.Equal(got.Args, want) || got.Script != "sc ript.js" {
		t.Errorf("%q, script %q, %v", got.Args, got.Script, err)
	}
	if strings.Join(args, "\x00") != before {
		t.Errorf("the input is now %q", args)
	}
}
