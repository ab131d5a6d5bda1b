package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/cmd/internal/cli"
)

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
