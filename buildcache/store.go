package buildcache

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// StoreConfig says where a far level is.
type StoreConfig struct {
	// URL of a bucket, as for the binaries of a service, such as s3://name?region=eu-west-1&prefix=go, gs://name,
	// azblob://name, file:///dir or mem://; or oci://host/repository of a registry, with ?insecure=true for one without
	// TLS. Credentials come from the environment: those of the provider, or those of docker login.
	URL      string
	Patience time.Duration // for one request; 0: 30 s
	Logger   *slog.Logger  // nil discards
}

// OpenStore opens a far level; nothing is sent yet. A URL that means nothing is an error of kind Invalid.
func OpenStore(ctx context.Context, cfg StoreConfig) (Store, error) {
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	if strings.HasPrefix(cfg.URL, "oci://") {
		return openRegistry(cfg)
	}
	return openBucket(ctx, cfg.URL, cfg.Patience, cfg.Logger)
}
