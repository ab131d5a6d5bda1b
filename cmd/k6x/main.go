// Command k6x runs k6 with the extensions that a script needs, and is a service that builds them.
//
//	main.go    the commands           help.go      help, man pages           options.go      flags of more than one command
//	run.go     k6, and its commands   builders.go  where a k6 comes from     replace.go      --replace
//	build.go   build                  deps.go      deps                      get.go          get, by URL or list
//	builds.go  builds, log, retry     follow.go    follow                    preload.go      preload
//	cache.go   what is kept here      cachemove.go export and import of it   gocacheprog.go  the build cache of a go command
//	screen.go  what is shown          service.go   service                   worker.go       worker, workers
package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"k6x/cmd/internal/cli"
	"k6x/launcher/command"
)

func main() { cli.Main(newRoot()) }

const usage = `k6x is k6 with the extensions that a script needs: it finds out what those are, gets a k6
that has them, keeps it, and becomes it. Each command that is not listed here is one of k6.

    k6x run script.js            the extensions that script.js imports
    k6x run -o dashboard test.js an output is an extension, too
    k6x run --with k6/x/redis -  more than can be seen in the script, which is read from stdin

A script chooses among the extensions that the registry has. A Go module outside of it is had only if
you name it, by --with, K6_DEPENDENCIES or --replace.

Each flag can be set by a variable too: --cache-dir by K6X_CACHE_DIR, and so on. Flags win.
A variable for a flag that may be repeated holds one value a line.

Exit codes: those of k6 where it was run; else 0 done, 1 failed, 2 wrong usage.`

func newRoot() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "k6x COMMAND [flags]",
		Short: "k6 with the extensions that a script needs",
		Long:  usage,
		Example: `  k6x run script.js
  K6X_BUILDER_SERVICE=https://builds.example.com k6x run script.js
  k6x service`,
		Args:               cobra.ArbitraryArgs,
		DisableFlagParsing: true, // most are those of k6
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return slices.DeleteFunc(command.Commands(), func(name string) bool { return strings.Contains(name, " ") }), 0
		},
	}
	root.RunE = func(cmd *cobra.Command, args []string) error { return runK6(cmd, &o, args) }
	o.addRun(root.Flags())
	root.SetHelpCommand(newHelpCommand(&o))
	root.AddCommand(newBuildCommand(), newDepsCommand(), newGetCommand(), newBuildsCommand(), newLogCommand(), newRetryCommand(), newFollowCommand(), newPreloadCommand(), newCacheCommand(),
		newManCommand(), newServiceCommand(), newWorkerCommand(), newWorkersCommand(), newCacheProgCommand())
	return root
}

// help writes the help of k6x, and that of k6 if there is one without getting it first.
func (o *options) help(root *cobra.Command, shown *screen) error {
	if err := root.Help(); err != nil {
		return err
	}
	fmt.Fprintln(root.OutOrStdout())
	return o.becomeKept(root, []string{"help"}, shown)
}

// helpOfK6 writes the flags of k6x, and the help that a command line of k6 asks for.
func (o *options) helpOfK6(root *cobra.Command, args []string, shown *screen) error {
	fmt.Fprintf(root.OutOrStdout(), "Flags of k6x, for every command of k6:\n%s\n", ownFlags(root.Flags()).FlagUsages())
	return o.becomeKept(root, args, shown)
}

// becomeKept has a kept k6 help, if there is one: for its help none is made.
func (o *options) becomeKept(root *cobra.Command, args []string, shown *screen) error {
	out := root.OutOrStdout()
	if dir, b, ok := o.bare(root.Context()); ok {
		if release, err := dir.Use(root.Context(), b); err == nil {
			shown.close()
			fmt.Fprintf(out, "The help of k6 itself:\n\n")
			return become(root.Context(), b.Path, args, nil, release)
		}
	}
	fmt.Fprintf(out, "The help of k6 itself comes with the first k6, which k6x version gets.\n")
	return nil
}
