package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"k6x/cmd/internal/cli"
)

func newManCommand() *cobra.Command {
	dir := "."
	cmd := &cobra.Command{
		Use:     "man",
		Short:   "Write the manual pages of k6x to a directory",
		Example: "  k6x man --dir /usr/local/share/man/man1",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("the directory for manual pages cannot be made: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same pages from the same program
			homeless(root)
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "k6x"}, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", dir, "`directory` to write them to")
	return cmd
}

// homeless takes the home directory of the user out of the pages.
func homeless(cmd *cobra.Command) {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		if f := flags.Lookup("cache-dir"); f != nil {
			f.DefValue = "k6x in the user's cache directory"
		}
	}
	for _, sub := range cmd.Commands() {
		homeless(sub)
	}
}
