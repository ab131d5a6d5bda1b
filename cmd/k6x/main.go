// Command k6x runs k6 with the extensions that a script needs, and is a service that builds them.
package main

import (
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
	var o runOptions
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
	o.addFlags(root.Flags())
	root.SetHelpCommand(newHelpCommand(&o))
	root.AddCommand(newBuildCommand(), newDepsCommand(), newGetCommand(), newBuildsCommand(), newLogCommand(), newRetryCommand(), newFollowCommand(), newPreloadCommand(), newCacheCommand(),
		newManCommand(), newServiceCommand(), newCacheProgCommand())
	return root
}
