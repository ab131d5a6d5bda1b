package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"k6x/builder"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/cache/tier"
	"k6x/cmd/internal/cli"
)

// binaries are where binaries are kept, and what that kind of store needs now and then.
type binaries struct {
	cache.Limited
	leases builder.Leaser                                    // nil: no other service builds for this store
	scrub  func(context.Context) (bucket.ScrubReport, error) // nil: nothing to check
	trim   func(context.Context) error                       // nil: it bounds itself
	bucket *bucket.Store                                     // that services share; nil: there is none
	probe  func(ctx context.Context, thorough bool) error    // whether it works, as [bucket.Store.Probe]; nil: that is the disk's matter
	dir    string                                            // of a store in a directory that was named; "": it is below the cache directory
	path   string                                            // of the directory with binaries, wherever it is; "": they are in memory
	upload func(context.Context) error                       // nil: nothing is to be uploaded later
	opened closers
}

// openStore opens the store that --store names: a directory by default, memory, or a bucket
// with a directory in front.
func (a *App) openStore(ctx context.Context) (*binaries, error) {
	o := a.options
	u, err := url.Parse(o.Store)
	if err != nil || o.Store != "" && u.Scheme == "" {
		return nil, &cli.UsageError{Err: errors.New("--store is a URL, such as file:///var/lib/k6x or s3://bucket?region=eu-west-1")}
	}
	switch u.Scheme {
	case "", "file":
		if u.Host != "" || u.RawQuery != "" || u.Scheme != "" && u.Path == "" {
			return nil, &cli.UsageError{Err: errors.New("a directory is given to --store with three slashes, as file:///var/lib/k6x")}
		}
		b, err := a.openDir(cmp.Or(pathOf(u), filepath.Join(o.CacheDir, "store")), o.StoreSize)
		if err == nil {
			b.dir, a.storePart.every = pathOf(u), time.Second // it knows at once whether its disk is full
		}
		return b, err
	case "mem":
		return &binaries{Limited: bucket.Memory(bucket.Config{Size: o.StoreSize})}, nil
	}
	count := a.observer("bucket")
	remote, err := bucket.Open(ctx, bucket.Config{URL: o.Store, Size: o.StoreSize, Logger: a.logger, Observe: func(method string, took time.Duration, err error) {
		count(method, took, err)
		if blob.FaultOf(err) != "" {
			a.storePart.failed()
		}
	}})
	if errors.Is(err, bucket.ErrURL) {
		return nil, cli.WrongUsage(err)
	}
	if err != nil {
		return nil, err
	}
	// The local directory is that of one bucket only.
	of := sha256.Sum256([]byte(u.Scheme + "://" + u.Host + "?" + u.Query().Get("endpoint") + " " + u.Query().Get("prefix")))
	local, err := a.openDir(filepath.Join(o.CacheDir, "near-"+hex.EncodeToString(of[:6])), o.NearSize)
	if err != nil {
		return nil, errors.Join(err, remote.Close())
	}
	both := tier.New(local.Limited.(*dir.Store), remote, a.logger)
	b := &binaries{
		Limited: both, upload: both.Upload,
		path: local.path, scrub: local.scrub, trim: remote.Trim, bucket: remote, probe: remote.Probe, opened: append(local.opened, remote.Close),
	}
	if !o.BuildAlone {
		b.leases = bucket.NewLeases(remote, bucket.LeaseConfig{Limits: a.options.Sandbox.Limits()})
	}
	return b, nil
}

// pathOf returns the path that a file URL has: file:///var/lib/k6x, or file:///C:/k6x.
func pathOf(u *url.URL) string {
	if path := filepath.FromSlash(strings.TrimPrefix(u.Path, "/")); filepath.VolumeName(path) != "" {
		return path
	}
	return filepath.FromSlash(u.Path)
}

func (a *App) openDir(path string, size int64) (*binaries, error) {
	store, err := dir.Open(dir.Config{Dir: path, Size: size, Logger: a.logger, Observe: a.observer("directory")})
	if err != nil {
		return nil, err
	}
	return &binaries{Limited: store, path: path, scrub: store.Scrub, opened: closers{store.Close}}, nil
}

// SignedURL is that of the store, for those that have such URLs.
func (b *binaries) SignedURL(ctx context.Context, key string) (string, error) {
	if signer, ok := b.Limited.(interface {
		SignedURL(ctx context.Context, key string) (string, error)
	}); ok {
		return signer.SignedURL(ctx, key)
	}
	return "", errors.ErrUnsupported
}

// close ends the use of the store.
func (b *binaries) close() error { return b.opened.close() }
