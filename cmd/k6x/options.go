package main

import (
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"k6x/cache"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/launcher/binaries"
	"k6x/resolver"
)

// tokenVariable has a token for the builder service.
const tokenVariable = "K6X_BUILDER_TOKEN"

// builderOptions are the flags that say where a k6 comes from.
type builderOptions struct {
	builders   []string
	service    string
	tokenFile  string
	registries []string
	filter     string
	modules    []string // Go modules that the user named; no others may be built
	env        []string
	direct     []string
	commits    bool
	image      string
	network    string
	cacheDir   string
	buildCache string
	reading    bool
	patient    bool // nobody waits for k6 when all is built: there is time to send what was compiled, and to learn
	goCache    cli.ByteSize
	sandbox    app.Sandbox
}

func (o *builderOptions) addFlags(f *pflag.FlagSet) {
	o.goCache = 10 << 30
	f.StringSliceVar(&o.builders, "builder", []string{"service", "native", "docker"},
		"`list` of who makes a k6, tried in this order: service, native (Go here), docker (Go in a container), xk6")
	f.StringVar(&o.service, "builder-service", "", "`URL` of the builder service")
	f.StringVar(&o.tokenFile, "builder-token-file", "", "`file` with the token for the service (default the one in "+tokenVariable+")")
	f.StringArrayVar(&o.registries, "registry", nil,
		"`location` of a registry for builders that are not the service: file, URL, or embedded; repeated ones overlay those before (default "+resolver.DefaultRegistry+")")
	f.StringVar(&o.filter, "filter", "", "jmespath `expression` over the registry's entries: what may be used (default [*])")
	f.StringArrayVar(&o.env, "build-env", nil, "`KEY=VALUE` for the environment of the go command; may be repeated")
	cli.DirectFlag(f, &o.direct)
	f.BoolVar(&o.commits, "allow-build-semvers", false, "allow versions that name a commit: pseudo-versions and v0.0.0+COMMIT")
	f.StringVar(&o.image, "docker-image", defaultImage, "`image` with Go to build in")
	f.StringVar(&o.network, "docker-network", "", "`network` of the container to build in, such as host (default that of the daemon)")
	f.StringVar(&o.cacheDir, "cache-dir", cache.DefaultDir(), "`directory` for binaries, modules and Go's build cache")
	f.StringVar(&o.buildCache, "build-cache", "",
		"`URL` of a build cache that machines share, for the builder native: s3://bucket?region=R, gs://bucket, azblob://container, file:///dir or oci://host/repository; who may write it decides what you run (default none)")
	f.BoolVar(&o.reading, "build-cache-read-only", true, "take from the shared build cache, and write nothing to it")
	o.sandbox.AddFlags(f)
	f.Var(&o.goCache, "go-cache-size", "`bytes` that Go's build cache and module cache may take each; 0 is no limit")
}

// keepOptions are the flags that say where binaries are kept.
type keepOptions struct {
	binDir string
	size   cli.ByteSize
}

func (o *keepOptions) addFlags(f *pflag.FlagSet) {
	o.size = 2 << 30
	f.StringVar(&o.binDir, "bin-dir", "", "`directory` to keep binaries in (default .k6x if there is one here, else below --cache-dir)")
	o.addSize(f)
}

func (o *keepOptions) addSize(f *pflag.FlagSet) {
	if o.size == 0 {
		o.size = 2 << 30
	}
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

// needOptions are the flags that say what is needed beyond the script.
type needOptions struct {
	with []string
}

func (o *needOptions) addFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.with, "with", nil, "`WISH` for one more extension, NAME or 'NAME CONSTRAINT', as in 'k6/x/redis >=0.3'; NAME may be a Go module, which no script can choose; may be repeated")
}

// sendTime is how long, when all is built, what was compiled may take to be sent to the shared build cache.
func (o *builderOptions) sendTime() time.Duration {
	if o.patient {
		return 10 * time.Minute
	}
	return 2 * time.Second
}
