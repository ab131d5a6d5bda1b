// Command k6x is a build service for k6 binaries with extensions.
package main

import (
	"github.com/spf13/cobra"

	"k6x/cmd/internal/cli"
)

func main() { cli.Main(newRoot()) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "k6x",
		Short: "k6 with the extensions that you name",
		Long: `k6x builds k6 with the extensions that you name, and serves the binaries.

Each flag can be set by a variable too: --cache-dir by K6X_CACHE_DIR, and so on. Flags win.
A variable for a flag that may be repeated holds one value a line.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
	}
	root.AddCommand(newServiceCommand())
	return root
}
