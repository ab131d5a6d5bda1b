package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"k6x/cache"
	"k6x/cache/objects"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/tracing"
	"k6x/service"
)

type storeOptions struct {
	port            uint16
	objects         objects.Config
	downloadURL     string
	tokenFile       string
	otelEndpoint    string
	level           slog.Level
	shutdownTimeout time.Duration
}

func newStoreCommand() *cobra.Command {
	o := storeOptions{objects: objects.Config{MaxObject: 1 << 30}}
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Serve a store of objects",
		Long: `Serve a store of objects: POST or PUT /store/ID stores the body, GET /store/ID describes
it, GET /store/ID/download sends it. An id is stored once: another upload is answered with
"duplicate object", as a status 200 with an error. Nothing is ever removed. What a store of
the original k6build has left in the directory is taken over at start.`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	f := cmd.Flags()
	f.Uint16VarP(&o.port, "port", "p", 9000, "`port` to listen on; 0 is any that is free")
	f.StringVarP(&o.objects.Dir, "store-dir", "c", cache.DefaultDir("objects"), "`directory` to keep objects in")
	f.StringVarP(&o.downloadURL, "download-url", "d", "", "base `URL` that clients see, in front of /store (default as they ask)")
	f.Var((*cli.ByteSize)(&o.objects.MaxObject), "max-object", "`bytes` that one object may have")
	f.Var((*cli.ByteSize)(&o.objects.Size), "store-size", "`bytes` that all objects may have; 0 is no limit")
	f.StringVar(&o.tokenFile, "auth-token-file", "", "`file` with tokens, one a line, that allow storing (default everybody may)")
	f.TextVarP(&o.level, "log-level", "l", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	tracing.AddFlag(f, &o.otelEndpoint)
	f.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 30*time.Second, "how long requests under way may take after a signal to stop")
	return cmd
}

func (o *storeOptions) run(cmd *cobra.Command, _ []string) (err error) {
	ctx, logger := cmd.Context(), cli.TextLogger(cmd.ErrOrStderr(), o.level)
	cfg := service.ObjectsConfig{Metrics: service.NewMetrics(), Logger: logger}
	if o.downloadURL != "" {
		if cfg.DownloadURL, err = cli.ParseURL("download-url", o.downloadURL, "a base URL such as https://store.example.com"); err != nil {
			return err
		}
	}
	if o.objects.Dir == "" {
		return cli.NoHome("store-dir")
	}
	if o.objects.MaxObject < 1 {
		return cli.Usage(errors.New("--max-object is at least 1"))
	}
	if o.tokenFile != "" {
		if cfg.Tokens, err = service.LoadTokens(o.tokenFile); err != nil {
			return err
		}
	}
	o.objects.Logger = logger
	if cfg.Store, err = objects.Open(o.objects); err != nil {
		return err
	}
	defer cfg.Store.Close()
	defer cli.OnHangup(func() { logger.Info("tokens were read again", "error", cfg.Tokens.Reload()) })()
	traces, err := tracing.New(ctx, "k6build", o.otelEndpoint, logger)
	if err != nil {
		return err
	}
	defer traces.Close()
	cfg.Metrics.Gauge("k6x_objects", "Objects in the store.", func() float64 { n, _ := cfg.Store.Stats(); return float64(n) })
	cfg.Metrics.Gauge("k6x_objects_bytes", "Bytes of the objects, uploads under way included.", func() float64 { _, n := cfg.Store.Stats(); return float64(n) })
	return cli.Serve(ctx, cli.Server{
		Addr: fmt.Sprintf(":%d", o.port), AddrFlag: "port", Handler: traces.Wrap(service.NewObjects(cfg)), Timeout: o.shutdownTimeout, Logger: logger,
		Listening: func(addr net.Addr) {
			fmt.Fprintf(cmd.OutOrStdout(), "k6build store listens on %s\n", cli.LocalURL(addr))
			logger.Info("listening", "addr", addr.String(), "dir", o.objects.Dir)
		},
	})
}
