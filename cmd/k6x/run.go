package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/internal/web"
	"k6x/launcher"
	"k6x/launcher/binaries"
	"k6x/launcher/command"
	"k6x/launcher/process"
	"k6x/launcher/script"
)

func (o *options) addRun(f *pflag.FlagSet) {
	o.addNeeds(f)
	f.BoolVar(&o.clean, "clean", false, "look for the newest versions, whatever is kept")
	f.BoolVar(&o.explain, "explain", false, "say what k6x does, and why; -v does so, too, and has k6 log in detail")
	f.BoolVar(&o.dry, "dry", false, "do not run k6, print what would be run")
	o.addReplace(f)
	o.addBuilders(f)
	o.events.AddCommandFlags(f)
	o.addKept(f)
}

// runK6 runs a command line of k6.
func runK6(root *cobra.Command, o *options, args []string) error {
	line, err := command.Parse(args, root.Flags())
	if err != nil {
		return cli.Usage(err)
	}
	word, _, _ := strings.Cut(line.Name, " ")
	if own := ownCommand(root, word); own && args[0] != word { // flags came first
		at := slices.Index(args, word)
		root.SetArgs(slices.Concat([]string{word}, args[:at], args[at+1:]))
		return root.ExecuteContext(root.Context())
	}
	if err := cli.SetFromEnvironment(root.Flags(), root.Name(), os.LookupEnv); err != nil {
		return err
	}
	shown := newScreen(root.ErrOrStderr(), line.Quiet, line.Verbose || o.explain)
	shown.k6 = true
	defer shown.close()
	if line.Name == "" && !line.Version {
		return o.help(root, shown)
	}
	if word != "" && !slices.Contains(command.Commands(), word) {
		if _, _, ok := o.bare(root.Context()); !ok {
			return cli.Usage(k6x.Errorf(k6x.Invalid, "%q is no command of k6x, nor of any k6 that it knows", word).WithHint("See k6x help."))
		}
	}
	if line.Help && line.Name != "x" {
		return o.helpOfK6(root, line.Args, shown)
	}
	if err := shown.open(&o.events, root, cmp.Or(line.Name, "version"), args); err != nil {
		return err
	}
	report, b, release, err := o.prepare(root.Context(), o.input(line, root.InOrStdin()), shown)
	if lost := shown.command.Finish(root.Context(), err); err != nil {
		return err
	} else if lost != nil { // k6 runs nevertheless
		fmt.Fprintln(root.ErrOrStderr(), "k6x: "+k6x.Printable(lost.Error()))
	}
	shown.close()
	if o.dry {
		release()
		_, err := fmt.Fprintln(root.OutOrStdout(), shellWords(append([]string{b.Path}, line.Args...)))
		return err
	}
	if (line.Version || line.Name == "version") && !line.Help && !slices.Contains(line.Args, "--json") {
		describe(root.OutOrStdout(), b)
	}
	return become(root.Context(), b.Path, line.Args, report.Stdin, release)
}

// prepare finds the dependencies of a command, and gets a k6 that has them.
func (o *options) prepare(ctx context.Context, in script.Input, shown *screen) (script.Report, program, func(), error) {
	report, needs, err := o.analyze(ctx, in, shown)
	if err != nil {
		return report, program{}, nil, err
	}
	shown.command.Start(needs.String())
	o.fails = func(ctx context.Context, path string) bool {
		return process.Fails(ctx, path, environment(os.Environ()))
	}
	b, release, err := o.get(ctx, o.kept(), o.clean, hostPlatform(), needs, shown)
	if err == nil {
		shown.command.Stored(ctx, b.Target, b.Path)
	}
	return report, b, release, err
}

// bare returns a k6 that is kept without extensions, which may have commands and help that are not known here.
func (o *options) bare(ctx context.Context) (dir *binaries.Dir, b binaries.Binary, ok bool) {
	dir, err := binaries.New(o.kept())
	if err == nil {
		b, ok = dir.Find(ctx, hostPlatform(), nil)
	}
	return dir, b, ok
}

// shellWords joins words so that a shell reads them as they are.
func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		if word == "" || strings.ContainsFunc(word, func(r rune) bool {
			return !strings.ContainsRune("-_./=:,@+%", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// ownCommand reports whether name is a command of k6x itself.
func ownCommand(root *cobra.Command, name string) bool {
	return slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == name || c.HasAlias(name) })
}

// input returns a command line of k6 as far as it names dependencies.
func (o *options) input(line command.Command, stdin io.Reader) script.Input {
	return script.Input{
		Path: line.Script, Stdin: stdin, Outputs: line.Outputs, With: o.with, Replaced: o.replacedNames(), Subcommand: line.Subcommand,
		Env: func(name string) (string, bool) {
			if name == "K6_OUT" && line.Name != "run" { // the others do not look at it
				return "", false
			}
			return os.LookupEnv(name)
		},
	}
}

// analyze finds the dependencies of a command. Builders may use the Go modules that the user has named.
func (o *options) analyze(ctx context.Context, in script.Input, shown *screen) (script.Report, k6x.List, error) {
	in.HTTP = web.NewClient(nil)
	report, err := script.Analyze(ctx, in)
	for _, line := range report.Unread {
		shown.print(false, line)
	}
	for _, note := range report.Notes {
		shown.print(true, note)
	}
	if _, ok := errors.AsType[*script.InputError](err); ok {
		err = cli.Usage(err)
	}
	if err != nil {
		return script.Report{}, nil, err
	}
	o.modules, o.optional = report.Modules, report.Optional()
	list, err := report.List()
	return report, list, err
}

// program is a k6 that can be run.
type program struct {
	Path     string
	Target   string // canonical path, of a service that made it
	Versions string // of k6 and the extensions, as a list
	Source   string // where it came from
	Replaced string // lines about modules that were replaced
}

// get returns a k6 that has the dependencies and nothing else: one that keep has, unless clean. With --replace it is built anew.
func (o *options) get(ctx context.Context, keep binaries.Config, clean bool, platform k6x.Platform, needs k6x.List, shown *screen) (made program, release func(), err error) {
	if len(o.replace) > 0 {
		err := launcher.Without(needs, o.optional, shown.note, func(list k6x.List) (err error) {
			made, err = o.buildReplaced(ctx, platform, list, shown)
			return err
		})
		return made, func() {}, err
	}
	keep.Logger = shown.logger()
	keep.Waiting = func() { shown.waiting("waiting for another k6x, which is getting the same k6") }
	dir, err := binaries.New(keep)
	if err != nil {
		return program{}, nil, err
	}
	sources, err := o.sources(shown)
	if err != nil {
		return program{}, nil, err
	}
	l := launcher.Launcher{
		Dir: dir, Sources: sources, Platform: platform, Print: shown.print, Note: shown.note, Clean: clean, Optional: o.optional, Fails: o.fails,
		Resolved: func(pinned k6x.List) { shown.command.Resolved(pinned.Path(platform)) },
	}
	if o.filter != "" && !clean { // holds for kept binaries, too
		r, err := o.openResolver(ctx, o.noFetcher(), shown)
		if err != nil {
			return program{}, nil, err
		}
		if o.checkLoaded(r) != nil { // there is not even an old copy
			if err := errors.Join(r.Refresh(ctx), o.checkLoaded(r)); err != nil {
				return program{}, nil, err
			}
		}
		l.Permit = r.Permit
	}
	b, release, err := l.Get(ctx, needs)
	if err != nil {
		return program{}, nil, err
	}
	return program{Path: b.Path, Target: b.List().Path(platform), Versions: b.List().String(), Source: b.Source}, release, nil
}

// describe writes the versions and the source of a k6, before k6 writes its own.
func describe(w io.Writer, p program) {
	fmt.Fprintf(w, "k6x %s runs %s\n", cli.Version(), p.Path)
	fmt.Fprintf(w, "  made by %s: %s\n%s", p.Source, p.Versions, p.Replaced)
}

// become runs k6 in the place of this process.
func become(ctx context.Context, path string, args []string, stdin []byte, release func()) error {
	code, err := process.Run(ctx, process.Process{Path: path, Args: args, Env: environment(os.Environ()), Stdin: stdin, Release: release})
	if err == nil && code != 0 {
		err = cli.ExitCode(code)
	}
	return err
}

// environment is that of k6: without tokens, which scripts could read. This k6 has the extensions that it would fetch for
// itself; so that is switched off unless the user has set it.
func environment(env []string) []string {
	env = slices.DeleteFunc(env, func(kv string) bool {
		return strings.HasPrefix(kv, tokenVariable+"=") || strings.HasPrefix(kv, "K6X_BES_HEADER=")
	})
	for _, name := range []string{"K6_AUTO_EXTENSION_RESOLUTION", "K6_BINARY_PROVISIONING"} {
		if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
			env = append(env, name+"=false")
		}
	}
	return env
}
