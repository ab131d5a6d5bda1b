package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/pflag"

	"k6x/cmd/internal/cli"
)

// bucketOptions say in which S3 bucket binaries are kept, if in one.
type bucketOptions struct {
	bucket, endpoint, region string
	lock                     string
	lease                    time.Duration
}

func (b *bucketOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&b.bucket, "store-bucket", "", "`name` of an S3 bucket to keep binaries in (default the cache directory)")
	f.StringVar(&b.bucket, "s3-bucket", "", "the same as --store-bucket")
	f.StringVar(&b.endpoint, "s3-endpoint", "", "`URL` of the S3 server (default that of AWS)")
	f.StringVar(&b.region, "s3-region", "", "`region` of the bucket (default as the environment says)")
	f.StringVar(&b.lock, "build-lock", "local", "what builds are shared by: local, this process; or s3, all servers on the bucket")
	f.DurationVar(&b.lease, "s3-lock-lease", 0, "accepted for k6build's sake; leases are renewed while a build lives")
	for _, name := range []string{"backoff", "grace", "max-lease"} {
		f.Duration("s3-lock-"+name, 0, "accepted for k6build's sake")
	}
}

// url returns the URL of the bucket; "" if there is none.
func (b *bucketOptions) url() (string, error) {
	switch {
	case b.lock != "local" && b.lock != "s3":
		return "", &cli.UsageError{Err: fmt.Errorf("--build-lock is local or s3, not %q", b.lock)}
	case b.bucket == "" && (b.endpoint != "" || b.region != "" || b.lock == "s3"):
		return "", &cli.UsageError{Err: errors.New("--s3-endpoint, --s3-region and --build-lock s3 need a --store-bucket")}
	case b.bucket == "":
		return "", nil
	}
	query := url.Values{}
	if b.region != "" {
		query.Set("region", b.region)
	}
	if b.endpoint != "" {
		query.Set("endpoint", b.endpoint)
		query.Set("s3ForcePathStyle", "true")
	}
	return (&url.URL{Scheme: "s3", Host: b.bucket, RawQuery: query.Encode()}).String(), nil
}
