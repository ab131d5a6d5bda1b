package command_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/launcher/command"
)

var seeds = []string{
	"run -o json --vus 2 script.js", "--with a run -e --clean x.js", "cloud -v run --with=a -- --clean", "x --clean sql --with a",
	"run --new --clean --other 5 x.js", "-qvo=a run --clean=maybe", "-", "--", "--= --- -=", "run --with", "_ run _", "--new --with a b run",
}

// recorder is a flag that keeps how it was set.
type recorder struct {
	set  *[][]string
	name string
	flag bool // without a value
}

func (r recorder) String() string { return "" }
func (r recorder) Type() string   { return "text" }
func (r recorder) Set(value string) error {
	ways := []string{"--" + r.name + "=" + value, "--" + r.name + "\n" + value}
	if r.flag && value == "on" {
		ways = []string{ways[0], "--" + r.name}
	}
	*r.set = append(*r.set, ways)
	return nil
}

// What is left for k6 and what was taken are what came, in this order; and k6 gets nothing
// more to see by looking again.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds {
		f.Add(strings.Join(split(seed), "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\n")
		if len(args) > 30 {
			return
		}
		var taken [][]string
		own := pflag.NewFlagSet("", pflag.ContinueOnError)
		own.Var(recorder{&taken, "with", false}, "with", "")
		own.Var(recorder{&taken, "clean", true}, "clean", "")
		own.Lookup("clean").NoOptDefVal = "on"
		got, err := command.Parse(args, own)
		if err != nil {
			if k6x.KindOf(err) != k6x.Invalid {
				t.Fatal(err)
			}
			return
		}
		if !merges(args, got.Args, taken) {
			t.Fatalf("%q is %q without %q", args, got.Args, taken)
		}
		taken = nil
		again, err := command.Parse(got.Args, own)
		if err != nil || len(taken) > 0 || !cmp.Equal(again, got, cmpopts.EquateEmpty()) {
			t.Fatalf("%q is %+v; again it is %+v, %q taken, %v", args, got, again, taken, err)
		}
	})
}

// merges reports whether all consists of kept and taken, each in its order; an item of taken
// may have been written in one of several ways.
func merges(all, kept []string, taken [][]string) bool {
	if len(all) == 0 {
		return len(kept) == 0 && len(taken) == 0
	}
	if len(taken) > 0 {
		for _, way := range taken[0] {
			words := strings.Split(way, "\n")
			if len(words) <= len(all) && slices.Equal(all[:len(words)], words) && merges(all[len(words):], kept, taken[1:]) {
				return true
			}
		}
	}
	return len(kept) > 0 && all[0] == kept[0] && merges(all[1:], kept[1:], taken)
}

// Wherever k6's own library for command lines accepts one, it is read in the same way.
func FuzzAsCobra(f *testing.F) {
	before := []string{"-v", "-q", "--no-color", "-c=x", "-a", "run", "-qv", "--vus", "2", "-o", "json", "-ocsv", "--out=a", "-e", "--tag=b"}
	names := []string{"run", "cloud", "cloud run", "cloud upload", "cloud login", "archive", "inspect", "deps", "version", "new", "scale", "login influxdb"}
	behind := []string{"x.js", "-", "-v", "-qv", "-o", "-oa", "-o=b", "--out", "--out=c", "-u", "3", "-pu", "-vh", "--", "--no-color=false",
		"--http-debug", "-e", "--linger", "-l", "-s", "--json", "-t", "--verbose", "-O", "-f", "-w"}
	random := rand.New(rand.NewPCG(1, 2))
	some := func(n int) []byte {
		text := make([]byte, random.IntN(n))
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		return text
	}
	for range 500 {
		f.Add(some(4), byte(random.Uint32()), some(6))
	}
	f.Fuzz(func(t *testing.T, first []byte, name byte, last []byte) {
		if len(first)+len(last) > 20 {
			return
		}
		var args []string
		for _, b := range first {
			args = append(args, before[int(b)%len(before)])
		}
		args = append(args, strings.Fields(names[int(name)%len(names)])...)
		for _, b := range last {
			args = append(args, behind[int(b)%len(behind)])
		}
		want, ok := byCobra(args)
		if !ok {
			return
		}
		got, err := command.Parse(args, nil)
		if err != nil {
			t.Fatal(err)
		}
		want.Args = args
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q: %s", args, diff)
		}
	})
}

// byCobra reads a command line with commands as k6 makes them.
func byCobra(args []string) (read command.Command, ok bool) {
	root := &cobra.Command{Use: "k6", SilenceErrors: true, SilenceUsage: true}
	add(root.PersistentFlags(), command.Flags(""), nil)
	parents := map[string]*cobra.Command{"": root}
	for _, name := range command.Commands() { // "cloud" before "cloud run"
		parent, word, sub := strings.Cut(name, " ")
		if !sub {
			parent, word = "", name
		}
		if word == "help" || word == "completion" || word == "x" {
			continue
		}
		takesScript := slices.ContainsFunc(command.Flags(name), func(f command.Flag) bool { return f.Name == "compatibility-mode" })
		cmd := &cobra.Command{Use: word, Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
			ok = true
			read.Name = name
			on := func(name string) bool { v, _ := cmd.Flags().GetBool(name); return v }
			read.Verbose, read.Quiet, read.Help, read.Version = on("verbose"), on("quiet"), on("help"), on("version")
			if takesScript {
				read.Script = args[0]
				read.Outputs, _ = cmd.Flags().GetStringArray("out") // most have none
			}
			return nil
		}}
		if takesScript {
			cmd.Args = cobra.ExactArgs(1)
		}
		if name == "cloud" { // a word there may be a command of a newer k6
			cmd.Args = cobra.MatchAll(cmd.Args, func(_ *cobra.Command, args []string) error {
				return cobra.OnlyValidArgs(&cobra.Command{ValidArgs: []string{"x.js", "-", "2", "3"}}, args)
			})
		}
		add(cmd.Flags(), command.Flags(name), root.PersistentFlags())
		parents[parent].AddCommand(cmd)
		parents[name] = cmd
	}
	root.SetHelpFunc(func(*cobra.Command, []string) { ok = false }) // nothing runs
	root.SetArgs(args)
	err := root.Execute()
	return read, ok && err == nil
}

func add(set *pflag.FlagSet, flags []command.Flag, without *pflag.FlagSet) {
	for _, f := range flags {
		switch {
		case f.Name == "help" || f.Name == "version" || without != nil && without.Lookup(f.Name) != nil:
		case f.Value:
			set.StringArrayP(f.Name, f.Short, nil, "")
		case f.Name == "http-debug":
			set.String(f.Name, "", "")
			set.Lookup(f.Name).NoOptDefVal = "headers"
		default:
			set.BoolP(f.Name, f.Short, false, "")
		}
	}
}
