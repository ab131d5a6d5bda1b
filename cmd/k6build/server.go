package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/tracing"
)

type serverOptions struct {
	engineOptions
	bucketOptions
	service      app.Options
	port         uint16
	storeURL     string
	otelEndpoint string
	level        slog.Level
}

func newServerCommand() *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Serve builds of k6",
		Long: `Serve builds of k6: POST /build, as k6 and k6build remote send it, and GET
/{goos}/{goarch}/{list}, which is where the answers say that the binaries are. It is k6x
service with the flags of k6build. It needs the go command on PATH.

With --store-url the binaries are put at a k6build store once they are built, and the
answers name them there; its token, if it wants one, is in the variable ` + tokenVariable + `.`,
		Example: `  k6build server -c ./catalog.json
  k6build server -p 8000 --store-bucket k6 --s3-endpoint http://localhost:9000 --build-lock s3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runServer(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	o.engineOptions.addFlags(f, false)
	o.bucketOptions.addFlags(f)
	f.Uint16VarP(&o.port, "port", "p", 8000, "`port` to listen on; 0 is any that is free")
	o.service.AddServerFlags(f)
	f.StringVar(&o.storeURL, "store-url", "", "`URL` of a k6build store, where binaries are put for clients to download")
	f.StringVar(&o.service.AuthTokenFile, "auth-token-file", "", "`file` with tokens, one a line, that allow building (default everybody may)")
	tracing.AddFlag(f, &o.otelEndpoint)
	f.TextVarP(&o.level, "log-level", "l", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	return cmd
}

func runServer(ctx context.Context, o serverOptions, stdout, stderr io.Writer) error {
	if o.verbose {
		o.level = min(o.level, slog.LevelDebug)
	}
	logger := cli.TextLogger(stderr, o.level)
	options, err := o.appOptions()
	if err != nil {
		return err
	}
	traces, err := tracing.New(ctx, "k6build", o.otelEndpoint, logger)
	if err != nil {
		return err
	}
	defer traces.Close()
	options.Wrap, options.Events = traces.Wrap, traces.Sink()
	return app.Run(ctx, options, logger, stdout)
}

func (o *serverOptions) appOptions() (app.Options, error) {
	options := o.service
	if err := o.set(&options); err != nil {
		return app.Options{}, err
	}
	store, err := o.bucketOptions.url()
	if err != nil {
		return app.Options{}, err
	}
	options.Addr, options.AddrFlag, options.Program = fmt.Sprintf(":%d", o.port), "port", "k6build server"
	options.Store, options.BuildAlone = store, o.lock != "s3"
	options.StoreSize, options.NearSize, options.GoCacheSize = 20<<30, 5<<30, 10<<30
	options.TrustedProxies = []string{"127.0.0.0/8", "::1/128"}
	if o.storeURL != "" {
		u, err := cli.ParseURL("store-url", o.storeURL, "the URL of a store, such as http://localhost:9000")
		if err != nil {
			return app.Options{}, err
		}
		token, err := cli.Token(tokenVariable, "")
		if err != nil {
			return app.Options{}, err
		}
		options.Publish = newPublisher(u, token).publish
	}
	return options, nil
}
