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
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	prepare(root)
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
	text := program + ": " + k6x.Detailed(err)
	if e, ok := errors.AsType[*k6x.Error](err); ok {
		if advice := e.Advice(); advice != "" {
			text += "\n" + advice
		}
		if e.Build != "" && program == "k6x" {
			text += "\nWhat the tools of the build printed: k6x log " + e.Build
		}
	}
	fmt.Fprintln(w, k6x.Printable(text))
}

// prepare makes a command and those below it alike: arguments that it does not take are a [UsageError], as is another command where it has
// nothing but commands, and its flags are told in lines that fit a terminal.
func prepare(cmd *cobra.Command) {
	args, isHelp := cmd.Args, cmd.Name() == "help" && cmd.RunE == nil // cobra's own, which takes any words
	if !cmd.Runnable() || isHelp {
		args = cobra.ArbitraryArgs
		cmd.Run, cmd.RunE = nil, runGroup
	}
	if args != nil {
		cmd.Args = func(cmd *cobra.Command, words []string) error { return Usage(args(cmd, words)) }
	}
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) { f.Usage = fold(f.Usage, f.DefValue) })
	}
	for _, sub := range cmd.Commands() {
		prepare(sub)
	}
}

// runGroup runs a command that has nothing but commands, or prints the help of one.
func runGroup(cmd *cobra.Command, args []string) error {
	of := cmd
	if cmd.Name() == "help" {
		if found, rest, err := cmd.Root().Find(args); err == nil {
			of, args = found, rest
		}
	}
	if len(args) == 0 {
		return of.Help()
	}
	return Usage(fmt.Errorf("unknown command %q\nSee %s --help", args[0], of.CommandPath()))
}

// usageWidth is how many columns the descriptions of flags take, beside their names.
const usageWidth = 76

// fold breaks the description of a flag into lines, with room in the last one for its default.
func fold(usage, byDefault string) string {
	if strings.Contains(usage, "\n") {
		return usage
	}
	var lines strings.Builder
	width := 0
	for i, word := range strings.Fields(usage) {
		switch {
		case i > 0 && width+1+len(word) > usageWidth:
			lines.WriteByte('\n')
			width = 0
		case i > 0:
			lines.WriteByte(' ')
			width++
		}
		lines.WriteString(word)
		width += len(word)
	}
	if width+len(byDefault) > usageWidth {
		lines.WriteByte('\n')
	}
	return lines.String()
}

// Usage returns err as a [UsageError]; nil for nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &UsageError{Err: err}
}

// WrongUsage returns an error about what a command line names: a [UsageError] if it is of kind Invalid.
func WrongUsage(err error) error {
	if err != nil && k6x.KindOf(err) == k6x.Invalid {
		return Usage(err)
	}
	return err
}

// OneArg accepts one argument, which the error describes.
func OneArg(description string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give one argument: %s", description)
		}
		return nil
	}
}

// SetFromEnvironment sets flags that were not given from the variables of a program. A
// variable for a flag that may be repeated holds one value a line. A flag that was given stands also for its opposite, whose name has no in front.
// Without a home directory, --cache-dir has to be set.
func SetFromEnvironment(flags *pflag.FlagSet, program string, lookup func(string) (string, bool)) error {
	var errs []error
	given := make(map[string]bool)
	flags.Visit(func(f *pflag.Flag) {
		given[f.Name], given["no"+f.Name], given[strings.TrimPrefix(f.Name, "no")] = true, true, true
	})
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(program, f.Name)
		text, ok := lookup(name)
		if !ok || text == "" || given[f.Name] || f.Name == "help" {
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
