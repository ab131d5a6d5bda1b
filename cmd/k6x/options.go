package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/builder"
	"k6x/builder/container"
	"k6x/client"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/buildevents"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/progress"
	"k6x/event"
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

// screen shows a person the progress of getting a k6.
type screen struct {
	w       io.Writer
	quiet   bool
	verbose bool
	command *buildevents.Command
	display *progress.Display // nil: there is no terminal, or details are wanted instead
}

func newScreen(w io.Writer, quiet, verbose bool) *screen {
	return &screen{w: w, quiet: quiet, verbose: verbose, display: progress.New(w, quiet || verbose)}
}

// print writes a line; details are for --verbose.
func (s *screen) print(detail bool, text string) {
	if detail && !s.verbose || s.quiet && !s.verbose {
		return
	}
	s.display.Print(s.w, "k6x: "+k6x.Printable(text))
}

// warn prints what there is to say against a binary.
func (s *screen) warn(warning string) { s.print(false, "warning: "+warning) }

func (s *screen) logger() *slog.Logger {
	if !s.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return cli.TextLogger(s.w, slog.LevelInfo)
}

// waiting shows that another process has to end first; without a display it prints a line.
func (s *screen) waiting(text string) {
	if s.display == nil {
		s.print(false, text)
		return
	}
	s.display.Spin(text)
}

// service returns a function that shows the progress of a request to a service; nil if there is no display.
func (s *screen) service() func(client.Event) {
	if s.display == nil {
		return nil
	}
	return func(e client.Event) {
		_, host, _ := strings.Cut(e.URL, "://")
		host, _, _ = strings.Cut(host, "/")
		switch {
		case e.Step == client.Resolving:
			s.display.Spin("asking " + host)
		case e.Step == client.Downloading:
			s.display.Bytes("downloading", e.Done, e.Total)
		case e.Doing == "":
			s.display.Spin("waiting for " + host + ", which may be building")
		default:
			s.step(host+" is ", e.Doing, "", e.Done, e.Total)
		}
	}
}

// step shows a step of a build.
func (s *screen) step(of, step, item string, done, total int64) {
	switch step {
	case event.Pulling.String():
		s.display.Bytes(of+"pulling "+item, done, total)
	case event.Fetching.String():
		s.display.Count(of+"fetching modules", done, total)
	case event.Compiling.String():
		s.display.Count(of+"compiling packages", done, total)
	default:
		s.display.Spin(of + k6x.Printable(step))
	}
}

// retrying prints that a request is tried again.
func (s *screen) retrying(err error, after time.Duration) {
	s.print(false, fmt.Sprintf("%v; trying again in %s", err, after.Round(1e8)))
}

// watch returns a sink that shows the progress of a build, after the prefix of, and passes its events on; nil if neither is wanted.
func (s *screen) watch(of string) event.Sink { return event.Tee(s.shownAfter(of), s.command.Sink()) }

func (s *screen) shownAfter(of string) event.Sink {
	if s.display == nil {
		return nil
	}
	return func(e event.Event) {
		if e.Type == event.Progress { // what failed is said at the end
			s.step(of, e.Step.String(), e.Item, e.Done, e.Total)
		}
	}
}

// open begins the stream of build events of a command, if one is wanted.
func (s *screen) open(o *buildevents.Options, cmd *cobra.Command, name string, args []string) (err error) {
	s.command, err = o.Open(cmd, name, args, func(line string) { s.print(false, line) })
	return err
}

func (s *screen) close() { s.display.Close() }
