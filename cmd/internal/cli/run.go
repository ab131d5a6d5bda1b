package cli

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
)

// Exit codes, as the help of each program tells them.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// UsageError is a command line that makes no sense.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

// ExitCode is the error of a command that ran another program and exits as that one did.
type ExitCode int

func (c ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Main runs the command line of this process until it ends or a signal comes, and exits.
func Main(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(Run(ctx, root, os.Args[1:], os.Stdout, os.Stderr))
}

// Run runs one command line and returns its exit code. Each flag that was not given may be
// set by a variable whose name starts with that of the program, as K6X_CACHE_DIR.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SilenceErrors, root.SilenceUsage = true, true
	if root.RunE == nil {
		root.Args, root.RunE = cobra.ArbitraryArgs, runRoot
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.DisableFlagParsing { // it will do so when it has parsed them
			return nil
		}
		return SetFromEnvironment(cmd.Flags(), root.Name(), os.LookupEnv)
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &UsageError{Err: fmt.Errorf("%w\nSee %s --help", err, cmd.CommandPath())}
	})
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if code, ok := errors.AsType[ExitCode](err); ok {
		return int(code)
	}
	printError(stderr, root.Name(), err)
	if _, ok := errors.AsType[*UsageError](err); ok {
		return ExitUsage
	}
	return ExitFailure
}

// printError writes an error for the user, which may quote files and services.
func printError(w io.Writer, program string, err error) {
	text := program + ": " + err.Error()
	if e, ok := errors.AsType[*k6x.Error](err); ok {
		if e.Kind == k6x.Internal && e.Err != nil && !strings.Contains(text, e.Err.Error()) {
			text += ": " + e.Err.Error() // the user of a command line looks after this machine
		}
		if advice := e.Advice(); advice != "" {
			text += "\n" + advice
		}
	}
	fmt.Fprintln(w, k6x.Printable(text))
}

// runRoot runs the program without a command of its own.
func runRoot(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return root.Help()
	}
	return &UsageError{Err: fmt.Errorf("unknown command %q\nSee %s --help", args[0], root.Name())}
}

// NoArgs is [cobra.NoArgs] with a [UsageError].
func NoArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return &UsageError{Err: err}
	}
	return nil
}

// OneArg accepts one argument, which the [UsageError] describes.
func OneArg(description string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return &UsageError{Err: fmt.Errorf("give one argument: %s", description)}
		}
		return nil
	}
}

// SetFromEnvironment sets flags that were not given from the variables of a program. A
// variable for a flag that may be repeated holds one value a line. Without a home directory, --cache-dir has to be set.
func SetFromEnvironment(flags *pflag.FlagSet, program string, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(program, f.Name)
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
				errs = append(errs, &UsageError{Err: fmt.Errorf("%s: %w", name, err)})
			}
		}
	})
	if f := flags.Lookup("cache-dir"); f != nil && f.Value.String() == "" {
		errs = append(errs, NoHome("cache-dir"))
	}
	return errors.Join(errs...)
}

// NoHome is the error for a flag that has no default where there is no home directory.
func NoHome(flag string) error {
	return &UsageError{Err: k6x.Errorf(k6x.Invalid, "there is no home directory to keep files below").WithHint("Name a directory with --%s.", flag)}
}

// variable returns the name of the environment variable of a flag.
func variable(program, flag string) string {
	return strings.ToUpper(strings.ReplaceAll(program+"_"+flag, "-", "_"))
}
