package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/cmd/internal/buildevents"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/gotool"
)

// Options configure a service. The flags of k6x service describe them.
type Options struct {
	GoOptions
	Addr, URL         string
	Registries        []string
	Filter            string
	AllowModules      string
	Platforms         []string // nil: the default ones
	CacheDir          string
	Store             string           // URL of where binaries are kept; "": the directory store below CacheDir
	StoreSize         int64            // bytes; 0: no limit
	NearSize          int64            // bytes of the directory in front of a bucket; 0: no limit
	BuildAlone        bool             // build for a bucket without regard to other services on it
	BasePath          string           // where the service is mounted, such as /k6x
	RedirectDownloads bool             // send clients to the bucket for the bytes
	GoCacheSize       int64            // bytes, each of Go's caches; 0: no limit
	BuildCache        string           // URL of a build cache that machines share; "": there is none
	BuildCacheReading bool             // nothing is written to it
	Lifetime          builder.Lifetime // [Run] makes it that of a service
	MaxBuilds         int
	Queue             int
	BuildTimeout      time.Duration
	MaxWait           time.Duration
	LatestMaxAge      time.Duration
	BuildMaxAge       time.Duration
	NewsKeep          time.Duration // of the history; 0: for ever
	PublicHistory     bool
	NoPages           bool // JSON and text only
	Watch             WatchOptions
	Workers           WorkersOptions
	Webhooks          []string // URLs that the history is sent to
	WebhookSecretFile string
	AuthTokenFile     string   // "": no token is needed
	Compress          []string // content codings, as service.Codings names them
	Cgo               bool     // build extensions that need a C compiler
	Preload           []string
	TrustedProxies    []string
	ShutdownTimeout   time.Duration

	// Publish puts binaries where clients of the build API download them; nil: here.
	Publish func(ctx context.Context, digest string, open func(context.Context) (*cache.Entry, error)) (string, error)

	Events      event.Sink          // takes those of builds; nil: none are wanted
	BuildEvents buildevents.Options // where builds are shown to other programs

	Program  string                          // what says that it listens; "": k6x service
	AddrFlag string                          // the flag that Addr comes from; "": addr
	Wrap     func(http.Handler) http.Handler // goes round the service; nil: nothing does
}

// inBucket reports whether binaries are kept in a bucket.
func (o Options) inBucket() bool {
	u, err := url.Parse(o.Store)
	return err == nil && o.Store != "" && u.Scheme != "file" && u.Scheme != "mem"
}

// CheckFlags returns an error if a flag of k6x service says something that has no effect without another one.
func (o Options) CheckFlags(f *pflag.FlagSet) error {
	for _, row := range []struct {
		flags []string // with the value that is meant, if there is only one
		given bool     // what they need
		needs string
	}{
		{[]string{"build-here=false", "worker-token-file", "operator-token-file", "verify-workers", "nats"}, o.Workers.On, "--workers"},
		{[]string{"nats-creds"}, len(o.Workers.NATS) > 0, "--nats"},
		{[]string{"redirect-downloads", "near-size"}, o.inBucket(), "a --store in a bucket"},
		{[]string{"build-cache-read-only"}, o.BuildCache != "", "a --build-cache"},
		{[]string{"public-history"}, o.AuthTokenFile != "", "--auth-token-file"},
		{[]string{"watch-platforms", "watch-extensions", "watch-interval", "watch-backfill"}, o.Watch.On, "--watch"},
	} {
		for _, text := range row.flags {
			name, _, _ := strings.Cut(text, "=")
			if flag := f.Lookup(name); !row.given && flag.Value.String() != flag.DefValue {
				return cli.Usage(fmt.Errorf("--%s needs %s: give that as well, or leave it out", text, row.needs))
			}
		}
	}
	return nil
}

func baseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &cli.UsageError{Err: fmt.Errorf("--url %q is not a base URL such as https://builds.example.com", s)}
	}
	return u, nil
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			addr, addrErr := netip.ParseAddr(s)
			if addrErr != nil {
				return nil, &cli.UsageError{Err: fmt.Errorf("--trusted-proxies: %w", err)}
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		all = append(all, p)
	}
	return all, nil
}

// choosePlatforms reads the platforms to build for, each of which the go command has to know.
func choosePlatforms(ctx context.Context, tool *gotool.Tool, names []string) ([]k6x.Platform, error) {
	known, err := tool.Platforms(ctx)
	if err != nil {
		return nil, err
	}
	var list []k6x.Platform
	for _, name := range names {
		p, err := k6x.ParsePlatform(strings.TrimSpace(name))
		if err == nil && !slices.Contains(known, p) {
			err = k6x.UnknownPlatform(name).WithHint("See go tool dist list for what %s can build for.", tool.Version)
		}
		if err != nil {
			return nil, cli.Usage(err)
		}
		list = append(list, p)
	}
	if names == nil {
		return k6x.DefaultPlatforms(), nil
	}
	if len(list) == 0 {
		return nil, &cli.UsageError{Err: errors.New("--platforms is empty")}
	}
	return list, nil
}
