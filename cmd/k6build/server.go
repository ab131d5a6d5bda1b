package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
		RunE: o.run,
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

func (o *serverOptions) run(cmd *cobra.Command, _ []string) error {
	if o.verbose {
		o.level = min(o.level, slog.LevelDebug)
	}
	ctx, logger := cmd.Context(), cli.TextLogger(cmd.ErrOrStderr(), o.level)
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
	return app.Run(ctx, options, logger, cmd.OutOrStdout())
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
	options.NoPages = true // as k6build's server has none
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

// bucketOptions say in which S3 bucket binaries are kept, if in one.
type bucketOptions struct {
	bucket, endpoint, region string
	lock                     string
	lease                    time.Duration
}

func (b *bucketOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&b.bucket, "store-bucket", "", "`name` of an S3 bucket to keep binaries in (default the cache directory)")
	f.StringVar(&b.bucket, "s3-bucket", "", "the same as --store-bucket")
	f.StringVar(&b.endpoint, "s3-endpoint", "", "`URL` of the S3 server (default that of AWS)")
	f.StringVar(&b.region, "s3-region", "", "`region` of the bucket (default as the environment says)")
	f.StringVar(&b.lock, "build-lock", "local", "what builds are shared by: local, this process; or s3, all servers on the bucket")
	f.DurationVar(&b.lease, "s3-lock-lease", 0, "accepted for k6build's sake; leases are renewed while a build lives")
	for _, name := range []string{"backoff", "grace", "max-lease"} {
		f.Duration("s3-lock-"+name, 0, "accepted for k6build's sake")
	}
}

// url returns the URL of the bucket; "" if there is none.
func (b *bucketOptions) url() (string, error) {
	switch {
	case b.lock != "local" && b.lock != "s3":
		return "", &cli.UsageError{Err: fmt.Errorf("--build-lock is local or s3, not %q", b.lock)}
	case b.bucket == "" && (b.endpoint != "" || b.region != "" || b.lock == "s3"):
		return "", &cli.UsageError{Err: errors.New("--s3-endpoint, --s3-region and --build-lock s3 need a --store-bucket")}
	case b.bucket == "":
		return "", nil
	}
	query := url.Values{}
	if b.region != "" {
		query.Set("region", b.region)
	}
	if b.endpoint != "" {
		query.Set("endpoint", b.endpoint)
		query.Set("s3ForcePathStyle", "true")
	}
	return (&url.URL{Scheme: "s3", Host: b.bucket, RawQuery: query.Encode()}).String(), nil
}
