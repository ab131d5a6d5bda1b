package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/service"
	"k6x/watch"
)

// WatchOptions say which new versions are built before a client asks for them.
type WatchOptions struct {
	On         bool
	Interval   time.Duration
	Extensions []string // patterns of names or modules; nil: all
	Platforms  []string // nil: this machine's
	Backfill   int
}

// AddFlags adds their flags.
func (o *WatchOptions) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.On, "watch", false, "build each new version of k6 and of extensions behind what is asked for, and tell of it in /changes; what is there at the first start is not new")
	f.DurationVar(&o.Interval, "watch-interval", 15*time.Minute, "how often registries and the module proxy are asked for new versions")
	f.StringSliceVar(&o.Extensions, "watch-extensions", nil, "`patterns` of names or modules of extensions to watch, such as 'k6/x/*' (default all that may be built)")
	f.StringSliceVar(&o.Platforms, "watch-platforms", nil, "`list` of platforms that new versions are built for (default this machine's)")
	f.IntVar(&o.Backfill, "watch-backfill", 0, "`number` of the newest versions of each that are new at the first start")
}

// newsLife is for how long what is new is tried, unless the history is kept for less than twice that.
const newsLife = 7 * 24 * time.Hour

// openWatcher makes what looks for new versions, if that is wanted.
func (a *App) openWatcher(platforms []k6x.Platform) error {
	o := a.options.Watch
	if !o.On || a.builds.History == nil {
		return nil
	}
	if o.Interval < time.Second || o.Backfill < 0 || o.Backfill > 1000 {
		return &cli.UsageError{Err: errors.New("--watch-interval is at least 1s, --watch-backfill from 0 to 1000")}
	}
	targets := []k6x.Platform{a.host}
	if len(o.Platforms) > 0 {
		targets = nil
	}
	for _, name := range o.Platforms {
		platform, err := k6x.ParsePlatform(name)
		if err != nil {
			return cli.Usage(fmt.Errorf("--watch-platforms: %w", err))
		}
		targets = append(targets, platform)
	}
	for _, platform := range targets {
		if !slices.Contains(platforms, platform) {
			return &cli.UsageError{Err: fmt.Errorf("--watch-platforms: %s is none of --platforms", platform)}
		}
	}
	var err error
	a.watcher, err = watch.New(watch.Config{
		Seen: a.openJournal("watch/", 0), History: a.builds.History, Published: a.resolver.Published,
		Build: func(ctx context.Context, platform k6x.Platform, list k6x.List) (bool, error) {
			return a.Service.Wish(ctx, service.Target{Platform: platform, List: list})
		},
		Platforms: targets, Extensions: o.Extensions, Backfill: o.Backfill, Interval: o.Interval,
		Life: min(newsLife, cmp.Or(a.options.NewsKeep/2, newsLife)), Logger: a.logger,
	})
	if err != nil {
		return &cli.UsageError{Err: fmt.Errorf("--watch-extensions: %w", err)}
	}
	return nil
}
