package main

import (
	"github.com/spf13/cobra"

	"k6x/buildcache"
)

// newCacheProgCommand returns the command that go runs to reach the build cache of the k6x that started it.
func newCacheProgCommand() *cobra.Command {
	return &cobra.Command{
		Use: "gocacheprog SOCKET ID", Short: "Be the build cache of the go command", Hidden: true, Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return buildcache.Relay(cmd.Context(), args, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
