package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/service"
)

func newWorkerCommand() *cobra.Command {
	var o app.WorkerOptions
	var level slog.Level
	var format string
	cmd := &cobra.Command{
		Use:   "worker [flags] URL",
		Short: "Build for a service on another machine",
		Long: `Build for a k6x service that runs with --workers. The worker dials the URL of the service, and nothing
dials it. It takes recipes, never commands, and needs the go command on PATH as the service does.
What it builds goes to the service, or into the bucket of the service where that can be reached.

A first SIGTERM has it take nothing more, end its builds and leave; a second one has it give them back,
and others build them.`,
		Example: `  k6x worker https://builds.example.com --token-file worker.token --name w1`,
		Args:    cli.OneArg("the URL of the service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			logger, err := cli.Logger(cmd.ErrOrStderr(), level, format)
			if err != nil {
				return err
			}
			base, err := client.ParseBase(args[0])
			if err != nil {
				return cli.Usage(err)
			}
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
			defer signal.Stop(signals)
			return app.RunWorker(cmd.Context(), o, base, signals, logger)
		},
	}
	f := cmd.Flags()
	o.AddFlags(f)
	f.TextVar(&level, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "`format` of the log: text or json")
	return cmd
}

func newWorkersCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "workers [flags]",
		Short: "List the workers of a service, drain and revoke them",
		Long:  `List the machines that build for a builder service, and what they build.`,
		Args:  cobra.NoArgs,
		RunE: o.shown(func(cmd *cobra.Command, _ []string, shown *screen) error {
			at, err := o.dial(shown)
			if err != nil {
				return err
			}
			var status service.Status
			if err := at.Status(cmd.Context(), &status); err != nil {
				return err
			}
			if len(status.Pools) < 2 { // the first has the slots of the service
				return k6x.Errorf(k6x.NotFound, "this service was started without --workers, and has none")
			}
			known := func(text string) string { return cmp.Or(cell(text), "-") }
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "NAME\tSTATE\tVERSION\tPLATFORM\tCPUS\tMEMORY\tGO\tBUILT\tFAILED\tBUILDS")
			for _, pool := range status.Pools[1:] {
				for _, w := range pool.Workers {
					cpus, memory := "-", "-"
					if w.CPUs > 0 { // else it is away since before the service started
						cpus, memory = strconv.Itoa(w.CPUs), humanize.IBytes(uint64(max(0, w.Memory)))
					}
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", cell(w.Name), cell(w.State), known(w.Version), known(strings.Join(w.Platforms, ",")),
						cpus, memory, known(strings.Join(w.Toolchains, ",")), w.Built, w.Failed, cell(cmp.Or(w.Reason, strings.TrimPrefix(w.Path, "/"))))
				}
			}
			err = table.Flush()
			for _, pool := range status.Pools {
				for _, w := range pool.Workers {
					for _, path := range w.Unverified {
						fmt.Fprintf(cmd.OutOrStdout(), "unverified, of %s: %s\n", cell(w.Name), cell(strings.TrimPrefix(path, "/")))
					}
				}
			}
			return err
		}),
	}
	o.addService(cmd.Flags())
	for _, row := range [][3]string{
		{"drain", "Give a worker nothing more to do", "What it builds it builds to its end.\nThe token is one of the service's --operator-token-file, as for the others."},
		{"revoke", "Take back the credential of a worker", "What it builds is built elsewhere, and its name gets\nno other credential. Who has a token of --worker-token-file may still run a worker of another name: take that\ntoken back as well."},
		{"admit", "Undo drain, revoke or a quarantine", "The worker gets work again."},
	} {
		var o options
		sub := &cobra.Command{Use: row[0] + " [flags] NAME", Short: row[1], Long: row[1] + ". " + row[2], Args: cli.OneArg("the name of a worker"),
			RunE: o.shown(func(cmd *cobra.Command, args []string, shown *screen) error {
				at, err := o.dial(shown)
				if err != nil {
					return err
				}
				at.NoToken = "Name a file with a token of the service's --operator-token-file by --builder-token-file, or set " + tokenVariable + " to one."
				return at.ChangeWorker(cmd.Context(), url.PathEscape(args[0]), row[0])
			})}
		o.addService(sub.Flags())
		cmd.AddCommand(sub)
	}
	return cmd
}
