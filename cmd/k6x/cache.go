package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"k6x"
	"k6x/buildcache"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/blob/dial"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/gotool"
	"k6x/launcher/binaries"
)

// cacheOptions are the flags of k6x cache and its commands.
type cacheOptions struct {
	options
	unused time.Duration
	all    bool
	shared cli.ByteSize // bytes that a build cache of several machines may take
}

func newCacheCommand() *cobra.Command {
	o := cacheOptions{options: options{goCache: 10 << 30}}
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look at what k6x keeps, and remove it",
		Long: `Look at what k6x keeps, and remove it: k6 binaries, and what building here leaves behind (modules, and
Go's build cache). What a service keeps is its own matter.`,
	}
	p := cmd.PersistentFlags()
	app.CacheDirFlag(p, &o.cacheDir)
	p.StringVar(&o.binDir, "bin-dir", "", "`directory` that binaries are kept in (default .k6x if there is one here, else below --cache-dir)")
	dir := &cobra.Command{
		Use: "dir", Short: "Print the directory that binaries are kept in", Args: cobra.NoArgs,
		RunE: o.onKept(func(cmd *cobra.Command, kept *binaries.Dir) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), kept.Path())
			return err
		}),
	}
	stats := &cobra.Command{
		Use: "stats", Short: "Print what is kept, and how large it is", Args: cobra.NoArgs,
		RunE: o.onKept(o.stats),
	}
	prune := &cobra.Command{
		Use: "prune [URL]", Short: "Remove what was not used for long, and what is too much, here or in a shared build cache",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return cli.OneArg("the URL of a shared build cache, as --build-cache of k6x service has it")(cmd, args)
		},
		Example: `  k6x cache prune --unused 168h --bin-size 500MiB
  k6x cache prune "s3://builds?region=eu-west-1&prefix=go" --build-cache-size 10GiB`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return o.pruneShared(cmd, args[0])
			}
			return o.onKept(o.prune)(cmd, args)
		},
	}
	o.addSize(prune.Flags())
	prune.Flags().Var(&o.goCache, "go-cache-size", "`bytes` that Go's build cache and module cache may take each; 0 is no limit")
	prune.Flags().Var(&o.shared, "build-cache-size", "`bytes` that the shared build cache at URL may take, such as 10GiB; 0 is no limit, so that only leftovers go")
	prune.Flags().DurationVar(&o.unused, "unused", 30*24*time.Hour, "how long a binary may go unused; 0 is for ever")
	clearAll := &cobra.Command{
		Use: "clear", Short: "Remove all binaries", Args: cobra.NoArgs,
		RunE: o.onKept(o.clear),
	}
	clearAll.Flags().BoolVar(&o.all, "all", false, "remove modules, Go's build cache, binaries of --replace and what is known of registries as well")
	cmd.AddCommand(dir, stats, prune, clearAll, o.exportCommand(), o.importCommand())
	return cmd
}

// onKept opens the directory of binaries for a command.
func (o *cacheOptions) onKept(run func(*cobra.Command, *binaries.Dir) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		kept, err := binaries.New(o.kept())
		if err != nil {
			return err
		}
		return run(cmd, kept)
	}
}

// goDir is where builders here keep modules and Go's build cache.
func (o *cacheOptions) goDir() string { return app.GoDir(o.cacheDir) }

func (o *cacheOptions) stats(cmd *cobra.Command, kept *binaries.Dir) error {
	all, err := kept.Binaries(cmd.Context())
	if err != nil {
		return err
	}
	size, err := kept.Stats(cmd.Context())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, b := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", b.Platform, humanize.IBytes(uint64(b.Size)), humanize.Time(b.Used), b.List())
	}
	fmt.Fprintf(table, "binaries\t%s\t%d\tin %s\n", humanize.IBytes(uint64(size.Bytes)), size.Binaries, kept.Path())
	for _, dir := range []string{filepath.Join(o.cacheDir, replacedDir), filepath.Join(o.goDir(), "modcache"), filepath.Join(o.goDir(), "gocache")} {
		bytes, err := cache.Size(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t\tin %s\n", filepath.Base(dir), humanize.IBytes(uint64(bytes)), dir)
	}
	return table.Flush()
}

func (o *cacheOptions) prune(cmd *cobra.Command, kept *binaries.Dir) error {
	removed, err := kept.Prune(cmd.Context(), o.unused)
	if err != nil {
		return err
	}
	if err := printPruned(cmd, removed); err != nil {
		return err
	}
	engine, err := o.engine(cmd.Context())
	if err != nil || engine == nil {
		return err
	}
	app.TrimGoCaches(cmd.Context(), engine, int64(o.goCache), newScreen(cmd.ErrOrStderr(), false, true).logger())
	return engine.Close()
}

func (o *cacheOptions) clear(cmd *cobra.Command, kept *binaries.Dir) error {
	removed, err := kept.Clear(cmd.Context())
	if err != nil {
		return err
	}
	if err := printPruned(cmd, removed); err != nil || !o.all {
		return err
	}
	var freed int64
	remove := func(dirs ...string) (err error) {
		for _, dir := range dirs {
			size, _ := cache.Size(dir) // none of what is not there
			if gone := cache.RemoveAll(dir); gone != nil {
				err = errors.Join(err, gone)
				continue
			}
			freed += size
		}
		return err
	}
	ofGo := []string{filepath.Join(o.goDir(), "gocache"), filepath.Join(o.goDir(), "modcache"), filepath.Join(o.goDir(), "kits")}
	engine, err := o.engine(cmd.Context())
	switch {
	case err != nil:
		return err
	case engine == nil:
		err = remove(ofGo...)
	default:
		err = errors.Join(engine.Exclusive(cmd.Context(), func() error { return remove(ofGo...) }), engine.Close())
	}
	err = errors.Join(err, remove(filepath.Join(o.cacheDir, "resolver"), filepath.Join(o.cacheDir, replacedDir)))
	_, failed := fmt.Fprintf(cmd.OutOrStdout(), "removed %s of modules, of Go's build cache and of what is known of registries\n", humanize.IBytes(uint64(freed)))
	return errors.Join(err, failed)
}

// engine returns the engine that builds here, which knows whether a build is under way; nil if nothing was built here yet, or if there
// is no go command.
func (o *cacheOptions) engine(ctx context.Context) (*native.Engine, error) {
	if _, err := os.Stat(o.goDir()); err != nil {
		return nil, nil
	}
	tool, err := gotool.Find(ctx, nil, nil)
	if err != nil {
		return nil, nil
	}
	return native.New(ctx, native.Config{Tool: tool, Dir: o.goDir()})
}

func printPruned(cmd *cobra.Command, removed binaries.Pruned) error {
	text := ""
	if removed.InUse > 0 {
		text = fmt.Sprintf(", in use: %d", removed.InUse)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "removed %s (%s)%s\n", english.Plural(removed.Removed, "binary", "binaries"), humanize.IBytes(uint64(removed.Bytes)), text)
	return err
}

// pruneShared bounds a build cache that machines share.
func (o *cacheOptions) pruneShared(cmd *cobra.Command, location string) (err error) {
	if u, err := url.Parse(location); err == nil && u.Scheme == "file" {
		if _, err := os.Stat(dial.Path(u)); errors.Is(err, fs.ErrNotExist) {
			return cli.Usage(k6x.Errorf(k6x.Invalid, "there is no directory %s", dial.Path(u)).WithHint("Check the URL of the shared build cache."))
		}
	}
	shared, err := buildcache.OpenStore(cmd.Context(), location)
	if err != nil {
		return cli.WrongUsage(err)
	}
	defer func() { err = errors.Join(err, shared.Close()) }()
	t, err := buildcache.Trim(cmd.Context(), shared, int64(o.shared))
	if err != nil {
		return k6x.Errorf(k6x.Unavailable, "the shared build cache could not be pruned: %w", err)
	}
	for _, scope := range t.Discarded {
		fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", scope)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "kept %s (%s), removed %s\n",
		english.Plural(len(t.Kept), "part", ""), humanize.IBytes(uint64(t.Bytes)), english.Plural(int(t.Orphans), "leftover", ""))
	return err
}
