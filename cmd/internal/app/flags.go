package app

import (
	"time"

	"github.com/spf13/pflag"

	"k6x/cache"
)

// GoOptions are the options for the go command that services and other commands have in common.
type GoOptions struct {
	Env               []string // KEY=VALUE
	Direct            []string // patterns of modules that are fetched from their own hosts
	AllowBuildSemvers bool     // allow versions that name a commit
	Sandbox           Sandbox
}

// AddFlags adds their flags; env is the name of the one for Env, and short its letter or "".
func (o *GoOptions) AddFlags(f *pflag.FlagSet, env, short string) {
	f.StringArrayVarP(&o.Env, env, short, nil, "`KEY=VALUE` for the environment of the go command; may be repeated")
	f.StringSliceVar(&o.Direct, "direct", nil,
		"`patterns` of modules to fetch from their own hosts, wherever these are, and not to look up in the checksum database: as in GOPRIVATE, such as 'git.example.com/*'; may be repeated")
	f.BoolVar(&o.AllowBuildSemvers, "allow-build-semvers", false, "allow versions that name a commit: pseudo-versions and v0.0.0+COMMIT")
	o.Sandbox.AddFlags(f)
}

// AddServerFlags adds the flags that k6x service and k6build server have in common.
func (o *Options) AddServerFlags(f *pflag.FlagSet) {
	f.StringVar(&o.URL, "url", "", "`base` URL that clients see, when a proxy is in front; may have a path")
	CacheDirFlag(f, &o.CacheDir)
	f.IntVar(&o.MaxBuilds, "max-builds", DefaultMaxBuilds(), MaxBuildsUsage)
	f.IntVar(&o.Queue, "queue", 64, "`number` of builds that may wait for their turn")
	f.DurationVar(&o.BuildTimeout, "build-timeout", 15*time.Minute, "how long one build may take, its wait not counted")
	f.DurationVar(&o.BuildMaxAge, "cache-max-age", 0, "how long the answer to GET /build may be cached")
	f.DurationVar(&o.ShutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running downloads may take after a signal to stop")
}

// CacheDirFlag adds the flag for the cache directory.
func CacheDirFlag(f *pflag.FlagSet, dir *string) {
	f.StringVar(dir, "cache-dir", cache.DefaultDir(), "`directory` for binaries, modules and Go's build cache")
}
