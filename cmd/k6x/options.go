package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"k6x"
	"k6x/builder"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/buildevents"
	"k6x/cmd/internal/cli"
	"k6x/launcher/binaries"
	"k6x/resolver"
)

// tokenVariable is the variable with a token for the builder service.
const tokenVariable = "K6X_BUILDER_TOKEN"

// builderOptions are the flags of the builders that make a k6.
type builderOptions struct {
	app.GoOptions
	builders   []string
	service    string
	tokenFile  string
	registries []string
	filter     string
	modules    []string                                    // Go modules that the user named; no others may be built
	optional   []string                                    // names that the script may do without
	fails      func(ctx context.Context, path string) bool // as in [launcher.Launcher]
	image      string
	network    string
	cacheDir   string
	buildCache string
	reading    bool
	filling    bool // the shared build cache is to have all that builds are made of, whenever that was compiled
	lifetime   builder.Lifetime
	goCache    cli.ByteSize
	events     buildevents.Options
}

func (o *builderOptions) addFlags(f *pflag.FlagSet) {
	o.goCache = 10 << 30
	f.StringSliceVar(&o.builders, "builder", []string{"service", "native", "docker"},
		"`list` of who makes a k6, tried in this order: service, native (Go here), docker (Go in a container), xk6")
	f.StringVar(&o.service, "builder-service", "", "`URL` of the builder service")
	o.addTokenFlag(f)
	f.StringArrayVar(&o.registries, "registry", nil,
		"`location` of a registry for builders that are not the service: file, URL, or embedded; repeated ones overlay those before (default "+resolver.DefaultRegistry+")")
	f.StringVar(&o.filter, "filter", "", "jmespath `expression` over the registry's entries: what may be used (default [*])")
	o.GoOptions.AddFlags(f, "build-env", "")
	f.StringVar(&o.image, "docker-image", defaultImage, "`image` with Go to build in")
	f.StringVar(&o.network, "docker-network", "", "`network` of the container to build in, such as host (default that of the daemon)")
	app.CacheDirFlag(f, &o.cacheDir)
	f.StringVar(&o.buildCache, "build-cache", "",
		"`URL` of a build cache that machines share, for the builder native: s3://bucket?region=R, gs://bucket, azblob://container, file:///dir or oci://host/repository; who may write it decides what you run (default none)")
	f.BoolVar(&o.reading, "build-cache-read-only", true, "take from the shared build cache, and write nothing to it")
	f.Var(&o.goCache, "go-cache-size", "`bytes` that Go's build cache and module cache may take each; 0 is no limit")
}

func (o *builderOptions) addTokenFlag(f *pflag.FlagSet) {
	f.StringVar(&o.tokenFile, "builder-token-file", "", "`file` with the token for the service (default the one in "+tokenVariable+")")
}

// keepOptions are the flags of the directory of kept binaries.
type keepOptions struct {
	binDir string
	size   cli.ByteSize
}

func (o *keepOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.binDir, "bin-dir", "", "`directory` to keep binaries in (default .k6x if there is one here, else below --cache-dir)")
	o.addSize(f)
}

func (o *keepOptions) addSize(f *pflag.FlagSet) {
	o.size = 2 << 30
	f.Var(&o.size, "bin-size", "`bytes` that kept binaries may take; 0 is no limit")
}

// binaries returns where binaries are kept.
func (o *keepOptions) binaries(cacheDir string) binaries.Config {
	cacheDir, err := filepath.Abs(cacheDir)
	if err != nil {
		return binaries.Config{}
	}
	cfg := binaries.Location{BinDir: o.binDir, CacheDir: cacheDir}.Config()
	cfg.Size = int64(o.size)
	return cfg
}

// needOptions are the flags that add dependencies to those of the script.
type needOptions struct {
	with []string
}

func (o *needOptions) addFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.with, "with", nil, "`WISH` for one more extension, NAME or 'NAME CONSTRAINT', as in 'k6/x/redis >=0.3'; NAME may be a Go module, which no script can choose; may be repeated")
}

// sendTime is how long sending compiled packages to the shared build cache may take after the build.
func (o *builderOptions) sendTime() time.Duration {
	if o.lifetime == builder.Batch {
		return 10 * time.Minute
	}
	return 2 * time.Second
}

// displayOptions are the flags that say how much is printed.
type displayOptions struct{ verbose, quiet bool }

func (o *displayOptions) addFlags(f *pflag.FlagSet, quiet string) {
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say what is done, and why")
	f.BoolVarP(&o.quiet, "quiet", "q", false, quiet)
}

func (o *displayOptions) screen(w io.Writer) *screen { return newScreen(w, o.quiet, o.verbose) }

// programPath returns the file of a program in the directory of --bin-dir, which is made.
func programPath(binDir string, platform k6x.Platform) (string, error) {
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return "", k6x.Errorf(k6x.Invalid, "the directory of --bin-dir cannot be made: %w", err)
	}
	return filepath.Join(binDir, platform.Executable()), nil
}
