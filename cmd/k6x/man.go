package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

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
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "k6x"}, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", dir, "`directory` to write them to")
	return cmd
}
