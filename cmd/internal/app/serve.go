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
	"strings"
	"time"

	"k6x"
)

// Run makes the service, prints to stdout how to use it, and serves until ctx ends. Then it
// lets downloads end for a while.
func Run(ctx context.Context, o Options, logger *slog.Logger, stdout io.Writer) (err error) {
	a, err := New(ctx, o, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "cannot listen on %s: %w", o.Addr, err).
			WithHint("Choose another address with --addr, for example --addr 127.0.0.1:0 for any free port.")
	}
	server := &http.Server{
		Handler:           a.Service,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	base := cmp.Or(strings.TrimRight(o.URL, "/"), "http://"+listener.Addr().String())
	fmt.Fprintf(stdout, "k6x service listens on http://%s\nTry:\n\n    curl -fL -o k6 %s && chmod +x k6 && ./k6 version\n\n",
		listener.Addr(), base+"/"+a.host.String()+"/k6,k6/x/redis")
	logger.Info("listening", "addr", listener.Addr().String(), "toolchain", a.tool.Version, "cache_dir", o.CacheDir)

	background, stop := context.WithCancel(ctx)
	defer stop()
	a.Start(background)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	logger.Info("stopping: running downloads may end", "timeout", o.ShutdownTimeout)
	a.Service.Drain()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		logger.Warn("downloads were cut off", "error", err)
		return server.Close()
	}
	return nil
}
