package main

import (
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/tracing"
	"k6x/resolver"
)

// serviceOptions are the flags of k6x service.
type serviceOptions struct {
	app.Options
	logLevel  slog.Level
	logFormat string
	pages     bool
	otel      string
}

func newServiceCommand() *cobra.Command {
	o := serviceOptions{Options: app.Options{StoreSize: 20 << 30, NearSize: 5 << 30, GoCacheSize: 10 << 30}}
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Serve k6 binaries, built on first use",
		Long: `Serve k6 binaries: GET /{goos}/{goarch}/{list} answers with one binary, which is built on
first use and is the same for ever. It needs the go command on PATH, and git where modules
are fetched without a module proxy. SIGHUP has it read tokens and registries again.`,
		Example: `  k6x service
  k6x service --addr :8787 --url https://builds.example.com --max-wait 25s
  k6x service --store "s3://k6-binaries?region=eu-west-1"
  k6x service --filter "[?tier=='official']" --preload k6,k6/x/redis:linux/amd64`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.CheckFlags(cmd.Flags()); err != nil {
				return err
			}
			log := cli.NewBuffer(cmd.ErrOrStderr())
			defer log.Flush()
			logger, err := cli.Logger(log, o.logLevel, o.logFormat)
			if err != nil {
				return err
			}
			traces, err := tracing.New(cmd.Context(), "k6x", o.otel, logger)
			if err != nil {
				return err
			}
			defer traces.Close()
			o.Wrap, o.Events, o.NoPages = traces.Wrap, traces.Sink(), !o.pages
			return app.Run(cmd.Context(), o.Options, logger, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", "127.0.0.1:8787", "`address` to listen on")
	o.AddServerFlags(f)
	o.GoOptions.AddFlags(f, "env", "")
	f.StringArrayVar(&o.Registries, "registry", nil,
		"`location` of a registry: file, URL, or embedded; repeated ones overlay those before (default "+resolver.DefaultRegistry+")")
	f.StringVar(&o.Filter, "filter", "", "jmespath `expression` over the registry's entries: what may be built (default [*])")
	f.StringVar(&o.AllowModules, "allow-modules", "",
		"`patterns` as in GOPRIVATE of Go modules that may be named without being registered (default none)")
	f.StringSliceVar(&o.Platforms, "platforms", platformNames(k6x.DefaultPlatforms()), "`list` of platforms to build for")
	f.BoolVar(&o.Cgo, "cgo", false, "build extensions that need cgo too, which runs the C compiler on their code: here, and on workers with --cgo")
	f.StringVar(&o.BasePath, "base-path", "", "`path` that the service is mounted at, such as /k6x, if no proxy strips it")
	f.StringVar(&o.Store, "store", "",
		"`URL` of where binaries are kept: file:///dir, s3://bucket?region=R&endpoint=E&s3ForcePathStyle=true, gs://bucket, azblob://container or mem://; several services may share a bucket (default the directory store in --cache-dir)")
	f.BoolVar(&o.RedirectDownloads, "redirect-downloads", false, "send clients to a signed URL of the bucket for the bytes, instead of passing them on")
	f.Var((*cli.ByteSize)(&o.NearSize), "near-size", "`bytes` of binaries that are kept here too when --store is a bucket; 0 is no limit")
	f.Var((*cli.ByteSize)(&o.StoreSize), "store-size", "`bytes` that stored binaries may take, such as 20GiB; 0 is no limit")
	f.Var((*cli.ByteSize)(&o.GoCacheSize), "go-cache-size", "`bytes` that Go's build cache and module cache may take each, and each that is there for workers a fourth of it; 0 is no limit")
	f.StringVar(&o.BuildCache, "build-cache", "",
		"`URL` of a build cache that machines share: that of a bucket, as for --store, or oci://host/repository; who may write it decides what others build (default none)")
	f.BoolVar(&o.BuildCacheReading, "build-cache-read-only", false, "take from the shared build cache, and write nothing to it")
	f.DurationVar(&o.MaxWait, "max-wait", 0,
		"how long a request waits for a build before it is redirected to itself, for use behind a proxy with a short timeout; 0 is as long as it takes")
	f.DurationVar(&o.LatestMaxAge, "latest-max-age", 0, "how long the answer to a request without exact versions may be cached")
	f.StringSliceVar(&o.Compress, "compress", []string{"dcz", "zstd"},
		"`codings` for binaries: zstd, gzip, and dcz, the difference from one that the client has; each used for clients that accept it and made in the background once one does; Go programs accept gzip unasked, which is slower than no coding on a fast network; none is none")
	f.StringVar(&o.AuthTokenFile, "auth-token-file", "",
		"`file` with tokens, one a line, of those who may build; what is stored stays open to all (default everybody may build)")
	f.DurationVar(&o.NewsKeep, "news-keep", 90*24*time.Hour, "how long the history of builds, which /builds and /changes tell, is kept; 0 is for ever")
	f.BoolVar(&o.PublicHistory, "public-history", false, "show the history of builds without a token, too, where --auth-token-file is set")
	f.BoolVar(&o.pages, "pages", true, "pages for browsers at / and beside the JSON of /builds, /matrix, /changes and /status")
	o.Watch.AddFlags(f)
	o.Workers.AddFlags(f)
	o.BuildEvents.AddServiceFlags(f)
	tracing.AddFlag(f, &o.otel)
	f.StringArrayVar(&o.Webhooks, "webhook", nil,
		"`URL` that each entry of /changes is posted to, in order, signed by the rules of Standard Webhooks, and again until it answers 2xx; may be repeated")
	f.StringVar(&o.WebhookSecretFile, "webhook-secret-file", "", "`file` with the secret of the signatures, whsec_BASE64; several, one a line, each sign")
	f.StringArrayVar(&o.Preload, "preload", nil,
		"`list` to build in the background at start and keep, as LIST:GOOS/GOARCH,LIST:GOOS/GOARCH; without a platform, this machine's; may be repeated, gives way to what is asked for")
	f.StringSliceVar(&o.TrustedProxies, "trusted-proxies", []string{"127.0.0.0/8", "::1/128"},
		"`prefixes` of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed")
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "`format` of the log: text or json")
	return cmd
}

func platformNames(list []k6x.Platform) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.String()
	}
	return names
}
