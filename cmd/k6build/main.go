// Command k6build builds k6 with extensions: here, at a service, or as one.
package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"k6x/cmd/internal/cli"
)

func main() { cli.Main(newRoot()) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "k6build",
		Short: "Build k6 with the extensions that you name",
		Long: `k6build builds k6 with the extensions that you name: on this machine (local), at a
service (remote), or as such a service (server), which may keep what it builds at a
server of objects (store).

Each flag can be set by a variable too: --catalog by K6BUILD_CATALOG, and so on. Flags win.
A variable for a flag that may be repeated holds one value a line.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Version: fmt.Sprintf("%s %s %s/%s", cli.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH),
	}
	root.AddCommand(newLocalCommand(), newRemoteCommand(), newServerCommand(), newStoreCommand(), newVersionCommand())
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of k6build",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), cmd.Root().Name(), "version", cmd.Root().Version)
			return err
		},
	}
}
