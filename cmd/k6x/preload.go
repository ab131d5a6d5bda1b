package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"k6x"
	"k6x/builder"
	"k6x/cmd/internal/cli"
	"k6x/launcher"
	"k6x/launcher/script"
	"k6x/resolver"
)

// preloading are the flags of k6x preload.
type preloading struct {
	options
	platforms []string
	stars     int
}

func newPreloadCommand() *cobra.Command {
	var o preloading
	cmd := &cobra.Command{
		Use:   "preload [flags]",
		Short: "Fetch and compile extensions ahead, so that later builds are quick",
		Long: `Fetch and compile k6 and extensions ahead, so that later builds here are quick and need no network: those
that the registry has with enough stars, and those of --with. Nothing but the caches is kept of
it. What cannot be built is told and passed over, unless it was named by --with. With --build-cache and
--build-cache-read-only=false a build cache that machines share is filled, too: with what is compiled
now, and with what was compiled here before.`,
		Example: `  k6x preload --stars 100
  k6x preload --platform linux/amd64,windows/amd64 --with k6/x/redis --filter "[?tier=='official']"`,
		Args: cobra.NoArgs,
		RunE: o.shown(func(cmd *cobra.Command, _ []string, shown *screen) error {
			if err := shown.open(&o.events, cmd, cmd.Name(), nil); err != nil {
				return err
			}
			return shown.command.Finish(cmd.Context(), o.preload(cmd.Context(), shown, cmd.OutOrStdout()))
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.platforms, "platform", []string{hostPlatform().String()}, "`list` of OS/ARCH to compile for")
	f.IntVar(&o.stars, "stars", 5, "`number` of stars that an extension of the registry has at least")
	o.addNeeds(f)
	o.addDisplay(f, "print nothing but errors")
	o.addBuilders(f)
	o.events.AddCommandFlags(f)
	o.lifetime = builder.Batch
	f.Lookup("builder").DefValue = "native,docker"
	o.builders = []string{"native", "docker"}
	return cmd
}

// preloaded is one list that is compiled.
type preloaded struct {
	list  k6x.List
	named bool // by --with
}

func (o *preloading) preload(ctx context.Context, shown *screen, stdout io.Writer) error {
	var platforms []k6x.Platform
	for _, name := range o.platforms {
		p, err := k6x.ParsePlatform(name)
		if err != nil {
			return cli.Usage(err)
		}
		platforms = append(platforms, p)
	}
	o.builders = slices.DeleteFunc(o.builders, func(name string) bool { return name == "service" })
	if len(o.builders) == 0 {
		return cli.Usage(errors.New("a service is preloaded where it runs, by k6x service --preload"))
	}
	o.filling = o.buildCache != "" && !o.reading
	lists, err := o.lists(ctx, shown)
	if err != nil {
		return err
	}
	var targets []string
	for _, platform := range platforms {
		for _, item := range lists {
			targets = append(targets, item.list.Path(platform))
		}
	}
	shown.command.Start(targets...)
	shown.command.Resolved(targets...)
	sources, err := o.sources(shown)
	if err != nil {
		return err
	}
	l := launcher.Launcher{Sources: sources, Print: shown.print}
	var unsent error
	err = l.With(ctx, func(from launcher.Builder) error {
		local := from.(*launcher.Local)
		release := local.Release
		local.Release = func() error {
			unsent = release()
			return unsent
		}
		return o.compile(ctx, local, platforms, lists, shown, stdout)
	})
	if err == nil && o.filling {
		err = unsent
	}
	return err
}

// lists returns k6 alone, and k6 with each extension of the registry that has the stars or that was named.
func (o *preloading) lists(ctx context.Context, shown *screen) ([]preloaded, error) {
	starred := o.options // extensions that were named need no stars
	starred.filter = fmt.Sprintf("%s | [?to_number(stars) >= `%d`]", cmp.Or(o.filter, "[*]"), o.stars)
	r, err := starred.openResolver(ctx, resolver.Config{}, shown)
	if err == nil {
		err = r.Refresh(ctx)
	}
	if err == nil {
		err = o.checkLoaded(r) // of which the stars ask nothing
	}
	if err != nil {
		return nil, err
	}
	for _, s := range r.Sources() {
		if s.Stale {
			shown.print(false, fmt.Sprintf("the registry %s cannot be read: %s", s.Location, s.Error))
		}
	}
	_, named, err := o.analyze(ctx, script.Input{With: o.with}, shown)
	if err != nil {
		return nil, err
	}
	k6 := k6x.Dependency{Name: k6x.K6}
	if c, ok := named.Lookup(k6x.K6); ok {
		k6.Constraint = c
	}
	all := []preloaded{{k6x.List{k6}, true}}
	add := func(dep k6x.Dependency, named bool) error {
		list, err := k6x.NewList(k6, dep)
		all = append(all, preloaded{list, named})
		return err
	}
	for _, dep := range named {
		if dep.Name != k6x.K6 {
			err = errors.Join(err, add(dep, true))
		}
	}
	for _, name := range r.Extensions() {
		if _, ok := named.Lookup(name); !ok {
			err = errors.Join(err, add(k6x.Dependency{Name: name}, false))
		}
	}
	return all, err
}

// compile builds each list for each platform, and keeps no binary.
func (o *preloading) compile(ctx context.Context, local *launcher.Local, platforms []k6x.Platform, lists []preloaded, shown *screen, stdout io.Writer) error {
	done, all := 0, len(platforms)*len(lists)
	var failed error
	for _, platform := range platforms {
		for i, item := range lists {
			at := fmt.Sprintf("%d of %d, %s for %s: ", i+1, len(lists), item.list[len(item.list)-1].Name, platform)
			target := item.list.Path(platform)
			recipe, err := local.Build(ctx, platform, item.list, shown.watch(at).As(target), io.Discard)
			shown.command.Built(target, err)
			switch {
			case ctx.Err() != nil:
				return err
			case err == nil:
				done++
				if !o.quiet {
					shown.display.Print(stdout, recipe.List().String()+" for "+platform.String())
				}
			case item.named:
				failed = errors.Join(failed, err)
			default:
				shown.print(false, fmt.Sprintf("passed over %s for %s: %v", item.list, platform, err))
			}
		}
	}
	shown.close()
	if !o.quiet {
		fmt.Fprintf(stdout, "%d of %d %s ready\n", done, all, english.PluralWord(done, "is", "are"))
	}
	return failed
}
