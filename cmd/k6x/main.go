// Command k6x is a build service for k6 binaries with extensions.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/cmd/internal/cli"
)

// Exit codes, as the help of the root command tells them.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "k6x: %s\n", err)
	if e, ok := errors.AsType[*k6x.Error](err); ok && e.Hint != "" {
		fmt.Fprintf(stderr, "%s\n", e.Hint)
	}
	if _, ok := errors.AsType[*cli.UsageError](err); ok {
		return exitUsage
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "k6x",
		Short: "k6 with the extensions that you name",
		Long: `k6x builds k6 with the extensions that you name, and serves the binaries.

Each flag can be set by a variable too: --cache-dir by K6X_CACHE_DIR, and so on. Flags win.
A variable for a flag that may be repeated holds one value a line.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return setFromEnvironment(cmd.Flags(), os.LookupEnv)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &cli.UsageError{Err: fmt.Errorf("%w\nSee %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(newServiceCommand())
	return root
}

// setFromEnvironment sets flags that were not given from their K6X_ variables.
func setFromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(f.Name)
		text, ok := lookup(name)
		if !ok || text == "" || f.Changed || f.Name == "help" {
			return
		}
		values := []string{text}
		if _, repeated := f.Value.(pflag.SliceValue); repeated {
			values = strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
		}
		for _, value := range values {
			if err := flags.Set(f.Name, value); err != nil {
				errs = append(errs, &cli.UsageError{Err: fmt.Errorf("%s: %w", name, err)})
			}
		}
	})
	return errors.Join(errs...)
}

// variable returns the name of the environment variable of a flag.
func variable(flag string) string {
	return "K6X_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
