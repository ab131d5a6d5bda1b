package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/cache"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/buildevents"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/progress"
	"k6x/service"
)

type localOptions struct {
	requestOptions
	engineOptions
	storeDir string
	cacheDir string
	events   buildevents.Options
}

func newLocalCommand() *cobra.Command {
	var o localOptions
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Build k6 on this machine",
		Long: `Build k6 on this machine, print what it is made of, and write it to --output. What was
built before is taken from the store. It needs the go command on PATH, and git where modules
are fetched without a module proxy. Go's own caches are not used: it has its own.`,
		Example: `  k6build local -k v1.8.1 -d k6/x/redis:v0.3.6 -o k6
  k6build local -c ./catalog.json -d k6/x/mine -e GOPROXY=https://proxy.example.com`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	f := cmd.Flags()
	o.requestOptions.addFlags(f, "k6")
	o.engineOptions.addFlags(f, true)
	f.StringVarP(&o.storeDir, "store-dir", "f", "", "`directory` to keep binaries in (default below --cache-dir)")
	f.StringVar(&o.cacheDir, "cache-dir", cache.DefaultDir(), "`directory` for modules and Go's build cache")
	o.events.AddCommandFlags(f)
	return cmd
}

func (o *localOptions) run(cmd *cobra.Command, _ []string) (err error) {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	defer func() {
		if words := service.K6buildWords(err); words != "" {
			err = fmt.Errorf("%s: %w", words, err)
		}
	}()
	platform, err := k6x.ParsePlatform(o.platform)
	if err != nil {
		return cli.Usage(err)
	}
	list, err := o.list()
	if err != nil {
		return err
	}
	major, err := o.major()
	if err != nil {
		return err
	}
	options, err := o.appOptions()
	if err != nil {
		return err
	}
	logger := slog.New(slog.DiscardHandler)
	if o.verbose {
		logger = cli.TextLogger(stderr, slog.LevelDebug)
	}
	file, err := cli.CreateOutput(o.output, "output") // first, so that nothing is built for a name that cannot be written
	if err != nil {
		return err
	}
	defer file.Discard()
	shown, err := o.events.Open(cmd, cmd.Name(), nil, func(line string) { fmt.Fprintln(stderr, k6x.Printable(line)) })
	if err != nil {
		return err
	}
	display := progress.New(stderr, o.quiet || o.verbose)
	defer display.Close()
	display.Spin("building for " + platform.String())
	shown.Start(list.Path(platform))
	options.Events = shown.Sink()
	pinned, made, err := build(ctx, options, logger, platform, list, major, file)
	display.Close()
	if err == nil {
		err = file.Commit()
	}
	if err == nil {
		shown.Stored(ctx, pinned.Path(platform), o.output)
	}
	if err = shown.Finish(ctx, err); err != nil {
		if e, ok := errors.AsType[*k6x.Error](err); ok && o.verbose && e.Output != "" {
			fmt.Fprintln(stderr, e.Output)
		}
		return err
	}
	for _, warning := range made.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", k6x.Printable(warning))
	}
	if o.quiet {
		return nil
	}
	versions := map[string]string{}
	for _, dep := range pinned {
		versions[dep.Name] = dep.Constraint.Version()
	}
	return artifact{Platform: platform.String(), Dependencies: versions, Checksum: made.Digest}.print(cli.Summary(cmd, o.output))
}

// appOptions returns the options of a service in this process, for one build.
func (o *localOptions) appOptions() (app.Options, error) {
	options := app.Options{
		Platforms: []string{o.platform}, CacheDir: o.cacheDir,
		StoreSize: 20 << 30, GoCacheSize: 10 << 30, MaxBuilds: 1, BuildTimeout: 15 * time.Minute,
	}
	if o.storeDir != "" {
		dir, err := filepath.Abs(o.storeDir)
		if err != nil {
			return options, err
		}
		options.Store = cli.FileURL(dir)
	}
	err := o.set(&options)
	return options, err
}

// build makes the parts of a server, builds a list for a major version of k6 with them, and copies the binary to w. It returns the list with
// exact versions, and the entry of the store, which is closed.
func build(ctx context.Context, o app.Options, logger *slog.Logger, platform k6x.Platform, list k6x.List, major int, w io.Writer) (_ k6x.List, _ *cache.Entry, err error) {
	a, err := app.New(ctx, o, logger)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	pinned, entry, err := a.Service.Build(ctx, platform, list, major)
	if err != nil {
		return nil, nil, err
	}
	defer entry.Close()
	if _, err := io.Copy(w, entry.Body); err != nil {
		return nil, nil, k6x.Errorf(k6x.Internal, "the binary cannot be written: %w", err)
	}
	if entry.Verify != nil {
		err = entry.Verify(ctx)
	}
	a.Trim(ctx)
	return pinned, entry, err
}
