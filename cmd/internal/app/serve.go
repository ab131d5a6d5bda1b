package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"

	"k6x/builder"
	"k6x/cmd/internal/cli"
	"k6x/resolver"
)

// Run makes the service, prints to stdout how to use it, and serves until ctx ends. Then it
// lets downloads end for a while.
func Run(ctx context.Context, o Options, logger *slog.Logger, stdout io.Writer) (err error) {
	o.Lifetime = builder.Resident
	hangups := make(chan struct{}, 1) // also while it starts
	defer cli.OnHangup(func() {
		select {
		case hangups <- struct{}{}:
		default:
		}
	})()
	a, err := New(ctx, o, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	var handler http.Handler = a.Service
	if o.Wrap != nil {
		handler = o.Wrap(handler)
	}
	background, stop := context.WithCancel(ctx)
	defer stop()
	return cli.Serve(ctx, cli.Server{
		Addr: o.Addr, AddrFlag: cmp.Or(o.AddrFlag, "addr"), Handler: handler, Timeout: o.ShutdownTimeout, Logger: logger,
		Listening: func(addr net.Addr) {
			fmt.Fprintf(stdout, "%s listens on %s\nTry:\n\n    %s && chmod +x k6 && ./k6 version\n\n",
				cmp.Or(o.Program, "k6x service"), cli.LocalURL(addr), a.Service.Usage(cli.LocalURL(addr)))
			logger.Info("listening", "addr", addr.String(), "toolchain", a.tools.Tool.Version, "cache_dir", o.CacheDir)
			a.Start(background)
			a.work.Go(func() { a.reloads(background, hangups) })
		},
		Stopping: a.Service.Drain,
	})
}

// reloads reads tokens and registries anew for each signal until ctx ends.
func (a *App) reloads(ctx context.Context, signals <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		if err := errors.Join(a.tokens.Reload(), a.workers.Tokens.Reload(), a.workers.Operators.Reload(), a.resolver.Reload(ctx)); err != nil {
			a.logger.Error("tokens and registries were read again, and cannot all be used", "error", err)
			continue
		}
		stale := slices.DeleteFunc(a.resolver.Sources(), func(s resolver.SourceStatus) bool { return !s.Stale })
		a.logger.Info("tokens and registries were read again", "out_of_reach", len(stale))
	}
}
