package app

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/spf13/pflag"

	"k6x"
	"k6x/buildcache"
	"k6x/builder"
	"k6x/builder/fast"
	"k6x/builder/native"
	"k6x/builder/remote"
	"k6x/cmd/internal/cli"
)

// WorkerOptions configure a worker. The flags of k6x worker describe them.
type WorkerOptions struct {
	GoOptions
	Name, TokenFile, NATSCreds string
	Fetch, Cgo                 bool
	CacheDir                   string
	GoCacheSize                int64
	BuildCache                 string
	BuildCacheWriting          bool
	MaxBuilds                  int
}

// AddFlags adds their flags.
func (o *WorkerOptions) AddFlags(f *pflag.FlagSet) {
	host, _ := os.Hostname()
	f.StringVar(&o.Name, "name", host, "`name` that no other worker has, of letters, digits, _ and -")
	f.StringVar(&o.TokenFile, "token-file", "", "`file` with a token of the service's --worker-token-file (default the one in K6X_WORKER_TOKEN)")
	f.StringVar(&o.NATSCreds, "nats-creds", "", "`file` with credentials for NATS, where the service has --nats")
	f.BoolVar(&o.Fetch, "fetch-toolchains", false, "take builds for other versions of Go too, and fetch these as modules")
	f.BoolVar(&o.Cgo, "cgo", false, "take builds of extensions that need cgo too, which runs the C compiler of this machine on their code")
	CacheDirFlag(f, &o.CacheDir)
	f.IntVar(&o.MaxBuilds, "max-builds", DefaultMaxBuilds(), MaxBuildsUsage)
	o.GoCacheSize = 10 << 30
	f.Var((*cli.ByteSize)(&o.GoCacheSize), "go-cache-size", "`bytes` that Go's build cache and module cache may take each, and the cache for what is verified a fourth of it; 0 is no limit")
	f.StringVar(&o.BuildCache, "build-cache", "", "`URL` of a build cache that machines share, as for k6x service (default what the service offers of its own)")
	f.BoolVar(&o.BuildCacheWriting, "build-cache-write", false, "write what is compiled here to the shared build cache; all machines believe what is there")
	o.GoOptions.AddFlags(f, "env", "")
}

const longest = 24 * time.Hour // that a build may take, if its service lets it

// RunWorker builds for the service at a URL, until ctx ends by the first of the signals. Then it ends the builds under way, or gives them back
// when another one comes.
func RunWorker(ctx context.Context, o WorkerOptions, service *url.URL, signals <-chan os.Signal, logger *slog.Logger) error {
	if o.BuildCacheWriting && o.BuildCache == "" {
		return &cli.UsageError{Err: errors.New("--build-cache-write needs a --build-cache: what the service offers is for reading only")}
	}
	token, err := cli.Token("K6X_WORKER_TOKEN", o.TokenFile)
	if err != nil {
		return err
	}
	tools, err := OpenTools(ctx, ToolsConfig{Env: o.Env, Direct: o.Direct, Sandbox: o.Sandbox, Logger: logger})
	if err != nil {
		return cli.WrongUsage(err)
	}
	defer tools.Close()
	cfg := native.Config{Cgo: o.Cgo, Timeout: longest} // shorter is what each order says
	var worker *remote.Worker
	shared := BuildCacheConfig{URL: o.BuildCache, ReadOnly: !o.BuildCacheWriting, CacheDir: o.CacheDir}
	if shared.URL == "" {
		shared.Remote = buildcache.OpenOffer(service.JoinPath(remote.CachePath), func(r *http.Request) (*http.Response, error) { return worker.Do(r) })
	}
	engine, err := tools.OpenNative(ctx, cfg, shared, sendEnd)
	if err != nil {
		return cli.WrongUsage(err)
	}
	made := fast.New(engine, fast.Config{Lifetime: builder.Batch, Logger: logger}) // what is found to be wrong later could not be told
	alone, builds, err := tools.OpenAlone(ctx, cfg, o.CacheDir, engine, made)
	if err != nil {
		return cli.WrongUsage(err)
	}
	worker, err = remote.NewWorker(remote.WorkerConfig{
		URL: service, Token: token, Credentials: o.NATSCreds, Name: o.Name, Logger: logger, MakeTemp: engine.MakeTemp, Remove: engine.Remove,
		Engine: builds,
		Machine: remote.Machine{
			Version: cli.Version(), Platform: k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}.String(), CPUs: runtime.NumCPU(), Memory: int64(min(availableMemory(), math.MaxInt64)),
			Toolchains: []string{tools.Tool.Version}, Fetches: o.Fetch, Cgo: o.Cgo, Slots: max(1, o.MaxBuilds),
		},
	})
	if err != nil {
		return cli.WrongUsage(err)
	}
	working, giveBack := context.WithCancel(context.WithoutCancel(ctx))
	defer giveBack()
	go func() {
		for tick := time.Tick(trimEvery); ; {
			TrimGoCaches(working, engine, o.GoCacheSize, logger)
			trimBuilds(working, alone, o.GoCacheSize/forWorkers, logger)
			select {
			case <-tick:
			case <-working.Done():
				return
			}
		}
	}()
	go func() {
		<-ctx.Done()
		for range 2 { // the first one is what ended ctx
			select {
			case <-signals:
			case <-working.Done():
				return
			}
		}
		giveBack()
	}()
	return worker.Run(working, ctx.Done())
}
