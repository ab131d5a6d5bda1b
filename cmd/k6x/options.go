package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/builder"
	"k6x/builder/container"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/buildevents"
	"k6x/cmd/internal/cli"
	"k6x/launcher/binaries"
	"k6x/launcher/script"
	"k6x/resolver"
)

// tokenVariable is the variable with a token for the builder service.
const tokenVariable = "K6X_BUILDER_TOKEN"

// options are the flags of commands; each command adds those that it has.
type options struct {
	app.GoOptions
	builders   []string
	service    string
	tokenFile  string
	registries []string
	filter     string
	image      string
	network    string
	cacheDir   string
	buildCache string
	reading    bool
	goCache    cli.ByteSize
	events     buildevents.Options

	with     []string // more dependencies than those of the script
	replace  []string // NAME=SOURCE
	outputs  []string
	platform string
	binDir   string
	binSize  cli.ByteSize
	output   string
	verbose  bool
	quiet    bool
	clean    bool
	dry      bool
	explain  bool
	json     bool
	resolve  bool

	// What a command finds out, or is.
	modules  []string                                    // Go modules that the user named; no others may be built
	optional []string                                    // names that the script may do without
	fails    func(ctx context.Context, path string) bool // as in [launcher.Launcher]
	filling  bool                                        // the shared build cache is to have all that builds are made of, whenever that was compiled
	lifetime builder.Lifetime
	named    bool // the service is that of an argument
	noToken  bool // and not the one that the token is for
}

func (o *options) addBuilders(f *pflag.FlagSet) {
	o.goCache = 10 << 30
	f.StringSliceVar(&o.builders, "builder", []string{"service", "native", "docker"},
		"`list` of who makes a k6, tried in this order: service, native (Go here), docker (Go in a container), xk6")
	f.StringVar(&o.service, "builder-service", "", "`URL` of the builder service")
	o.addToken(f)
	f.StringArrayVar(&o.registries, "registry", nil,
		"`location` of a registry for builders that are not the service: file, URL, or embedded; repeated ones overlay those before (default "+resolver.DefaultRegistry+")")
	f.StringVar(&o.filter, "filter", "", "jmespath `expression` over the registry's entries: what may be used (default [*])")
	o.GoOptions.AddFlags(f, "build-env", "")
	f.StringVar(&o.image, "docker-image", container.DefaultImage, "`image` with Go to build in")
	f.StringVar(&o.network, "docker-network", "", "`network` of the container to build in, such as host (default that of the daemon)")
	app.CacheDirFlag(f, &o.cacheDir)
	f.StringVar(&o.buildCache, "build-cache", "",
		"`URL` of a build cache that machines share, for the builder native: s3://bucket?region=R, gs://bucket, azblob://container, file:///dir or oci://host/repository; who may write it decides what you run (default none)")
	f.BoolVar(&o.reading, "build-cache-read-only", true, "take from the shared build cache, and write nothing to it")
	f.Var(&o.goCache, "go-cache-size", "`bytes` that Go's build cache and module cache may take each; 0 is no limit")
}

func (o *options) addToken(f *pflag.FlagSet) {
	f.StringVar(&o.tokenFile, "builder-token-file", "", "`file` with the token for the service (default the one in "+tokenVariable+")")
}

// addKept adds the flags of the directory of kept binaries.
func (o *options) addKept(f *pflag.FlagSet) {
	f.StringVar(&o.binDir, "bin-dir", "", "`directory` to keep binaries in (default .k6x if there is one here, else below --cache-dir)")
	o.addSize(f)
}

func (o *options) addSize(f *pflag.FlagSet) {
	o.binSize = 2 << 30
	f.Var(&o.binSize, "bin-size", "`bytes` that kept binaries may take; 0 is no limit")
}

// kept returns where binaries are kept.
func (o *options) kept() binaries.Config {
	cacheDir, err := filepath.Abs(o.cacheDir)
	if err != nil {
		return binaries.Config{}
	}
	cfg := binaries.At(o.binDir, "", cacheDir)
	cfg.Size = int64(o.binSize)
	return cfg
}

// addNeeds adds the flag for dependencies beside those of the script.
func (o *options) addNeeds(f *pflag.FlagSet) {
	f.StringArrayVar(&o.with, "with", nil, "`WISH` for one more extension, NAME or 'NAME CONSTRAINT', as in 'k6/x/redis >=0.3'; NAME may be a Go module, which no script can choose; may be repeated")
}

// addScript adds the flags of commands that look at a script and run nothing.
func (o *options) addScript(f *pflag.FlagSet) {
	f.StringArrayVarP(&o.outputs, "out", "o", nil, "`OUTPUT` that the test writes to, as for k6 run; may be repeated")
	o.addNeeds(f)
	o.addDisplay(f, "print no more than what was asked for")
}

// script returns the command line of a script, if there is one.
func (o *options) script(cmd *cobra.Command, args []string) script.Input {
	in := script.Input{Stdin: cmd.InOrStdin(), Env: os.LookupEnv, Outputs: o.outputs, With: o.with, Replaced: o.replacedNames()}
	if len(args) > 0 {
		in.Path = args[0]
	}
	return in
}

// sendTime is how long sending compiled packages to the shared build cache may take after the build.
func (o *options) sendTime() time.Duration {
	if o.lifetime == builder.Batch {
		return 10 * time.Minute
	}
	return 2 * time.Second
}

// addDisplay adds the flags that say how much is printed.
func (o *options) addDisplay(f *pflag.FlagSet, quiet string) {
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say what is done, and why")
	f.BoolVarP(&o.quiet, "quiet", "q", false, quiet)
}

// shown runs a command that prints its progress.
func (o *options) shown(run func(cmd *cobra.Command, args []string, shown *screen) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		shown := newScreen(cmd.ErrOrStderr(), o.quiet, o.verbose)
		defer shown.close()
		return run(cmd, args, shown)
	}
}

// programPath returns the file of a program in the directory of --bin-dir, which is made.
func programPath(binDir string, platform k6x.Platform) (string, error) {
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return "", k6x.Errorf(k6x.Invalid, "the directory of --bin-dir cannot be made: %w", err)
	}
	return filepath.Join(binDir, platform.Executable()), nil
}
