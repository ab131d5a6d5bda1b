// Package bucket keeps artifacts in a bucket of an object store, which several services
// may share: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob
// Storage, a directory, or memory.
//
//	artifacts/<key>/record.json   the record; it names the digest
//	artifacts/<key>/<digest>      the bytes; missing if they were evicted
//	paths/<hash>                  {path, key}; hash is the SHA-256 of the path
//	leases/<key>/<n>              the right of one service to build key, or the sign that the service of that key lives ([Leases])
//	leases/<key>/<n>.failed       why that build failed, for a minute
//	probes/<random>               comes and goes when a service starts ([Store.Probe])
//	staging/<random>              a binary from another machine, as long as its build is under way ([Store.Stage])
//
// Bytes go first, under a name that says what they are. Then the record is written, if
// there is none: that one conditional write is the moment at which the artifact comes
// to be, and the first writer wins. Records and bindings are never changed nor removed.
//
// Nothing in the bucket is believed: names, sizes and digests are compared when they are
// read. What is damaged is an error and stays, because a broken proxy looks the same
// as a broken object.
//
// A store that has a bucket for itself ([Place]), in memory or in a directory (package dir), keeps within a limit at each Put
// and knows what was used when:
//
//	artifacts/<key[:2]>/<key>/binary         the bytes; missing if they were evicted
//	artifacts/<key[:2]>/<key>/artifact.json  the record
//	paths/<hash[:2]>/<hash>                  {path, key}
//
// It changes these under a lock: the binding, which counts once there is a record, then the bytes, then the record. What is damaged is
// removed, to be built again. An old record without bytes may be forgotten, and its path bound anew. So may a path that names modules otherwise than the
// one that they were first built for, of which there are no more than [Config] says.
package bucket

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
)

// Config says which bucket and how long it may take.
type Config struct {
	// URL of the bucket, such as s3://name?region=eu-west-1, gs://name, azblob://name, file:///dir or mem://; for S3
	// also with endpoint= and s3ForcePathStyle=true. With prefix=, all names begin with it.
	URL string
	// Size is the limit of [Store.Trim] for binaries and records, in bytes; 0 means none.
	Size   int64
	Logger *slog.Logger     // nil discards
	Clock  func() time.Time // nil means time.Now
	// Observe gets to know of each exchange with the bucket or the place; nil: nothing does.
	Observe blob.Observer
	// Aliases is how many paths beside its own, by other names for the same modules, may be bound in a [Place]; beyond it those go that were bound
	// first. 0: 16,384.
	Aliases int

	// Patience is how long the bucket may take for one answer, retries included; 0: 30 s.
	Patience time.Duration
	// Stall is how long an upload or a download may go without a byte; 0: 1 minute.
	Stall time.Duration
}

// Store is a [cache.Store] in a bucket, and a [cache.Limited] in a [Place].
type Store struct {
	cfg    Config
	logger *slog.Logger
	bucket blob.Bucket
	own    *account // nil: other services write to the bucket
	probed string   // the name of the small object of [Store.Probe]

	unswept sync.Once // tells that parts of uploads cannot be removed

	mu     sync.Mutex // guards what follows
	stats  cache.Stats
	staged map[string]*Staged // by digest, of what was taken
}

var _ cache.Limited = (*Store)(nil)

// Open opens the store in a bucket, and tries what it will do there ([Store.Probe]). A URL that means nothing, and what does not work until somebody
// mends it, are errors of kind Invalid. A bucket that does not answer is none, as it may do so later.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	b, err := Dial(ctx, cfg.URL, cfg.withDefaults().Patience)
	if err != nil {
		return nil, err
	}
	s := New(b, cfg)
	err = s.Probe(ctx, true)
	switch e := k6x.AsError(err); {
	case err == nil:
		return s, nil
	case e.Kind == k6x.Unavailable:
		s.logger.Warn("the bucket of the store does not work yet", "error", err, "cause", e.Err)
		return s, nil
	case e.Kind == k6x.Invalid: // the operator is there to read what the service says
		err = k6x.Errorf(k6x.Invalid, "%s: %w", e.Message, e.Err).WithHint("%s", e.Hint)
	}
	s.Close()
	return nil, err
}

// New returns the store in a bucket that is open. It does not use the URL of cfg.
func New(b blob.Bucket, cfg Config) *Store {
	cfg = cfg.withDefaults()
	return &Store{cfg: cfg, logger: cfg.Logger, bucket: blob.Observe(b, cfg.Observe), probed: probes + rand.Text(), stats: cache.Stats{Limit: cfg.Size}, staged: map[string]*Staged{}}
}

func (cfg Config) withDefaults() Config {
	cfg.Patience = cmp.Or(cfg.Patience, 30*time.Second)
	cfg.Stall = cmp.Or(cfg.Stall, time.Minute)
	cfg.Aliases = cmp.Or(cfg.Aliases, 16384)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return cfg
}

// Probe does to a small object what the store does to its bucket: it is written, read, listed and deleted; unless it is thorough, only read. The
// error says which of it failed and why; it is of kind Invalid if that lasts until somebody mends it, else Unavailable. Several services may do
// so at once, each to an object of its own; [Store.Trim] removes what one that was killed has left.
func (s *Store) Probe(ctx context.Context, thorough bool) error {
	for _, step := range []struct {
		verb string
		do   func(ctx context.Context) error
	}{
		{"write", func(ctx context.Context) error { return s.write(ctx, s.probed, []byte("k6x was here\n"), false) }},
		{"read", func(ctx context.Context) error {
			_, err := blob.ReadAll(ctx, s.bucket, s.probed, 1<<10)
			return err
		}},
		{"list", func(ctx context.Context) error {
			for _, err := range s.bucket.List(ctx, s.probed) {
				return err
			}
			return nil
		}},
		{"delete", func(ctx context.Context) error { return s.bucket.Delete(ctx, s.probed) }},
	} {
		if !thorough && step.verb != "read" {
			continue
		}
		limited, cancel := context.WithTimeoutCause(ctx, s.cfg.Patience, errNoAnswer)
		err := step.do(limited)
		cancel()
		fault := blob.FaultOf(err)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case err == nil, isAbsent(err) && fault == "" && !thorough: // it is not there otherwise
			continue
		case isAbsent(err):
			fault = blob.NoBucket
		}
		kind := k6x.Unavailable
		if fault.Lasting() {
			kind = k6x.Invalid
		}
		w := wordsOf(fault)
		return k6x.Errorf(kind, "the store's bucket %s (to %s an object)", w.says, step.verb).WithHint("%s", w.advice).WithCause(hide(err))
	}
	return nil
}

// Close ends the use of the bucket. Entries that are open must not be read any more.
func (s *Store) Close() error {
	if s.own != nil {
		s.own.change.Lock()
		defer s.own.change.Unlock()
	}
	return s.bucket.Close()
}

// Blobs returns the bucket, for what services that share it keep there beside binaries.
func (s *Store) Blobs() blob.Bucket { return s.bucket }

// Stats implements [cache.Limited]. Of a bucket that others write to it is what the last [Store.Trim] found and left.
func (s *Store) Stats() cache.Stats {
	if s.own != nil {
		s.own.mu.Lock()
		defer s.own.mu.Unlock()
		stats := cache.Stats{Limit: s.cfg.Size, Evictions: s.own.evictions, Forgotten: s.own.forgotten, Full: s.own.full, Unlinked: s.own.unlinked}
		stats.Artifacts, stats.Evicted, stats.Bytes = s.own.ledger.Totals()
		return stats
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

const (
	artifacts = "artifacts/"
	paths     = "paths/"
	leases    = "leases/"
	probes    = "probes/"
	recordTag = "record.json"
)

// home returns what the names of an artifact begin with.
func (s *Store) home(key string) string {
	if s.own != nil {
		return artifacts + key[:2] + "/" + key
	}
	return artifacts + key
}

func (s *Store) record(key string) string {
	if s.own != nil {
		return s.home(key) + "/artifact.json"
	}
	return s.home(key) + "/" + recordTag
}

func (s *Store) binary(key, digest string) string {
	if s.own != nil {
		return s.home(key) + "/binary"
	}
	return s.home(key) + "/" + digest
}

func (s *Store) binding(path string) string {
	sum := sha256.Sum256([]byte(path))
	hash := hex.EncodeToString(sum[:])
	if s.own != nil {
		return paths + hash[:2] + "/" + hash
	}
	return paths + hash
}

// check returns an error unless a method can begin with a key.
func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return k6x.CheckKey(key)
}
