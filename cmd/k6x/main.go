// Command k6x runs k6 with the extensions that a script needs, and is a service that builds them.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"k6x"
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
		newManCommand(), newServiceCommand(), newCacheProgCommand())
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

// newHelpCommand returns help for the commands of k6x; others may be those of k6.
func newHelpCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:                "help [COMMAND]",
		Short:              "Help about k6x, or about a command of k6x or k6",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) > 0 {
				if found, _, err := root.Find(args); err == nil && found != root {
					return found.Help()
				}
				return runK6(root, o, append(args, "--help"))
			}
			return runK6(root, o, nil)
		},
	}
}

// ownFlags returns flags without those that cobra adds.
func ownFlags(flags *pflag.FlagSet) *pflag.FlagSet {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			own.AddFlag(f)
		}
	})
	return own
}

func newManCommand() *cobra.Command {
	dir := "."
	cmd := &cobra.Command{
		Use:     "man",
		Short:   "Write the manual pages of k6x to a directory that is there",
		Example: "  k6x man --dir /usr/local/share/man/man1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				return cli.Usage(k6x.Errorf(k6x.Invalid, "there is no directory %s", dir).WithHint("Name one that is there with --dir."))
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same pages from the same program
			withoutHome(root)
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "k6x"}, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", dir, "`directory` to write them to")
	return cmd
}

// withoutHome takes the home directory of the user out of the pages.
func withoutHome(cmd *cobra.Command) {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		if f := flags.Lookup("cache-dir"); f != nil {
			f.DefValue = "k6x in the user's cache directory"
		}
	}
	for _, sub := range cmd.Commands() {
		withoutHome(sub)
	}
}
