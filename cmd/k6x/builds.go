package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/cli"
)

const (
	buildsPage = 200    // builds in one answer
	maxRetries = 10_000 // builds that are looked at for those that failed
)

// filterOptions are the flags that say which builds are meant.
type filterOptions map[string]*string

func (o filterOptions) addFlags(f *pflag.FlagSet) {
	for _, row := range [][2]string{
		{"extension", "`name` of an extension that they have, such as k6/x/redis"},
		{"version", "`version` of that extension"},
		{"k6", "`version` of k6"},
		{"platform", "`OS/ARCH` that they are for"},
		{"since", "`time`, such as 2026-01-02T15:04:05Z, or age, such as 24h, of the oldest"},
	} {
		o[row[0]] = f.String(row[0], "", row[1])
	}
}

func (o filterOptions) query() url.Values {
	query := make(url.Values)
	for name, value := range o {
		if *value != "" {
			query.Set(name, *value)
		}
	}
	return query
}

func newBuildsCommand() *cobra.Command {
	var o options
	filter := make(filterOptions)
	var limit int
	cmd := &cobra.Command{
		Use:   "builds [flags] [URL]",
		Short: "List what came of builds at a service",
		Long: `List what came of builds at a builder service, the newest first: those under way, and those that have
ended, on all services that share a bucket. The URL is that of the service, or that or the path of a
binary whose builds are meant.`,
		Example: `  k6x builds --outcome failed --since 24h
  k6x builds https://builds.example.com/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6`,
		Args: cobra.MaximumNArgs(1),
		RunE: o.shown(func(cmd *cobra.Command, args []string, shown *screen) error {
			if limit < 1 {
				return cli.Usage(errors.New("--limit is a number from 1 up"))
			}
			query := filter.query()
			service, err := o.of(cmd.Context(), args, query, shown)
			if err != nil {
				return err
			}
			query.Set("limit", strconv.Itoa(min(limit, buildsPage)))
			return printBuilds(cmd.Context(), cmd.OutOrStdout(), service, query, limit, o.json)
		}),
	}
	f := cmd.Flags()
	filter.addFlags(f)
	filter["outcome"] = f.String("outcome", "", "`word`: running, built, failed, differs or aborted")
	f.IntVar(&limit, "limit", 100, "`number` of builds to list at most")
	f.BoolVar(&o.json, "json", false, "print all that is known of each, as a line of JSON")
	o.addService(f)
	return cmd
}

// of returns a client of the service that a URL names, or the flags. The URL of a binary becomes a part of the query.
func (o *options) of(ctx context.Context, args []string, query url.Values, shown *screen) (*client.Client, error) {
	if len(args) == 0 {
		return o.dial(shown)
	}
	_, platform, list, ok, err := client.ParseURL(args[0])
	if !ok || err != nil { // not that of a binary
		o.at(args[0])
		return o.dial(shown)
	}
	if _, _, err = o.target(args[0]); err != nil {
		return nil, err
	}
	service, err := o.dial(shown)
	if err == nil && query != nil {
		if list, err = service.Resolve(ctx, platform, list); err == nil {
			query.Set("path", list.Path(platform))
		}
	}
	return service, err
}

// printBuilds prints the builds that a query lets pass as a table, or as lines of JSON.
func printBuilds(ctx context.Context, w io.Writer, service *client.Client, query url.Values, limit int, asJSON bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(table, strings.TrimRight(strings.Join(cells, "\t"), "\t")) } // into memory
	n := 0
	for b, err := range service.Builds(ctx, query) {
		switch {
		case err != nil:
			return errors.Join(table.Flush(), err)
		case n == limit:
			return table.Flush()
		case asJSON:
			if _, err := fmt.Fprintln(w, b.JSON); err != nil {
				return err
			}
		default:
			if n == 0 {
				row("BUILD", "BEGUN", "TOOK", "OUTCOME", "BINARY", "ERROR")
			}
			took := ""
			if !b.Ended.IsZero() {
				took = b.Ended.Sub(b.Begun).Round(100 * time.Millisecond).String()
			}
			row(b.ID, b.Begun.UTC().Format(time.RFC3339), took, cell(b.Outcome), cell(strings.TrimPrefix(b.Path, "/")), cell(b.Error))
		}
		n++
	}
	return table.Flush()
}

// cell returns what a service says as a cell of a table.
func cell(text string) string { return k6x.ClipTo(strings.Join(strings.Fields(text), " "), 300) }

func newLogCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "log [flags] URL|LIST|ID",
		Short: "Print what the tools of a build at a service print",
		Long: `Print what the tools of a build at a builder service print: live while it runs, else what is kept. The
build is named by its id or URL, or is the last one of a binary, which k6x get would take.`,
		Example: `  k6x log https://builds.example.com/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6`,
		Args:    cli.OneArg("the URL or list of a binary, or the id of a build"),
		RunE: o.shown(func(cmd *cobra.Command, args []string, shown *screen) error {
			service, id, err := o.lastBuild(cmd.Context(), args[0], shown)
			if err != nil {
				return err
			}
			b, err := service.Build(cmd.Context(), id)
			if err != nil {
				return err
			}
			if b.Outcome == "running" {
				shown.print(false, "it runs, which prints nothing where all goes well; how far it is: "+service.Base.JoinPath("builds", id).Redacted())
			}
			shown.close()
			var out counter
			err = service.Log(cmd.Context(), id, io.MultiWriter(cmd.OutOrStdout(), &out))
			if err == nil && out == 0 {
				shown.print(false, "its tools printed nothing")
			}
			return err
		}),
	}
	o.addPlatform(cmd.Flags())
	o.addService(cmd.Flags())
	return cmd
}

// counter counts bytes.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func newRetryCommand() *cobra.Command {
	var o options
	filter := make(filterOptions)
	var failed bool
	cmd := &cobra.Command{
		Use:   "retry [flags] URL|LIST|ID... | --failed",
		Short: "Have a service build again",
		Long: `Have a builder service build again, though it remembers a failure, and print the id of each new build,
which is not waited for. A build is named by its id or URL, or as the last one of a binary; or
--failed means all binaries whose last build failed. Where one is stored, that stays, and the bytes of
the new build are compared with it.`,
		Example: `  k6x retry https://builds.example.com/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6
  k6x retry --failed --since 24h --extension k6/x/redis`,
		Args: func(cmd *cobra.Command, args []string) error {
			if failed == (len(args) > 0) || !failed && len(filter.query()) > len(filter.query()["platform"]) {
				return errors.New("name binaries or builds; or all that failed by --failed, which --since, --extension, --version, --k6 and --platform narrow")
			}
			return nil
		},
		RunE: o.shown(func(cmd *cobra.Command, args []string, shown *screen) error {
			o.platform = cmp.Or(*filter["platform"], hostPlatform().String())
			if failed {
				return o.retryFailed(cmd, filter.query(), shown)
			}
			var errs []error
			for _, argument := range args {
				service, id, err := o.lastBuild(cmd.Context(), argument, shown)
				if err == nil {
					err = retry(cmd, service, id)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&failed, "failed", false, "all binaries whose last build failed")
	filter.addFlags(f)
	o.addService(f)
	return cmd
}

// retryFailed retries the last build of each binary for which that failed.
func (o *options) retryFailed(cmd *cobra.Command, query url.Values, shown *screen) error {
	service, err := o.dial(shown)
	if err != nil {
		return err
	}
	query.Set("limit", strconv.Itoa(buildsPage))
	var again []string
	last := make(map[string]bool) // paths
	for b, err := range service.Builds(cmd.Context(), query) {
		if err != nil {
			return err
		}
		if !last[b.Path] && b.Outcome == "failed" {
			again = append(again, b.ID)
		}
		if last[b.Path] = true; len(last) == maxRetries {
			break
		}
	}
	for _, id := range again {
		err = errors.Join(err, retry(cmd, service, id))
	}
	return err
}

// retry has one build made again, and prints the new one.
func retry(cmd *cobra.Command, service *client.Client, id string) error {
	again, err := service.RetryBuild(cmd.Context(), id)
	if err == nil {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), again.ID, cell(again.Path))
	}
	return err
}
