package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"github.com/gofrs/flock"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"

	"k6x"
)

const urlHint = "Write s3://BUCKET?region=REGION, with endpoint=URL and s3ForcePathStyle=true for other servers than that of AWS, " +
	"or gs://BUCKET, azblob://CONTAINER, file:///DIRECTORY or mem://. Credentials come from the environment, as the tools of the provider take them."

// connect opens the bucket of the URL; nothing is sent yet.
func (s *Store) connect(ctx context.Context) error {
	u, err := url.Parse(s.cfg.URL)
	if err != nil || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		// The URL is not repeated: there may be a password in it.
		return k6x.Errorf(k6x.Invalid, "the URL of the store is not one of a bucket").WithHint(urlHint)
	}
	query := u.Query()
	prefix := query.Get("prefix")
	query.Del("prefix")
	bucket, err := s.dial(ctx, u, query)
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "the store at %s://%s cannot be opened: %v", u.Scheme, u.Host, hide(err)).WithHint(urlHint)
	}
	if prefix != "" {
		bucket = blob.PrefixedBucket(bucket, strings.Trim(prefix, "/")+"/")
	}
	s.bucket = bucket
	return nil
}

func (s *Store) dial(ctx context.Context, u *url.URL, query url.Values) (*blob.Bucket, error) {
	switch u.Scheme {
	case s3blob.Scheme:
		return s.dialS3(ctx, u.Host, query)
	case fileblob.Scheme:
		dir := filepath.FromSlash(u.Path)
		if u.Host == "." || os.PathSeparator != '/' {
			dir = strings.TrimPrefix(dir, string(os.PathSeparator))
		}
		s.lock = lockFile(filepath.Join(dir, "lock"))
		for param, value := range map[string]string{"create_dir": "true", "no_tmp_dir": "true", "metadata": "skip"} {
			query.Set(param, value)
		}
	case gcsblob.Scheme, azureblob.Scheme, memblob.Scheme:
	default:
		return nil, fmt.Errorf("%q is none of the kinds of bucket", u.Scheme)
	}
	plain := *u
	plain.RawQuery = query.Encode()
	bucket, err := blob.OpenBucket(ctx, plain.String())
	if err != nil { // its words have the whole URL
		err = errors.New(strings.ReplaceAll(err.Error(), plain.String(), "URL"))
	}
	return bucket, err
}

// lockFile makes conditional writes of a directory conditional: what the driver does
// is to look and then to write.
func lockFile(name string) func() (func(), error) {
	return func() (func(), error) {
		lock := flock.New(name)
		if err := lock.Lock(); err != nil {
			return nil, fmt.Errorf("lock the directory of the bucket: %w", err)
		}
		return func() { lock.Close() }, nil
	}
}

// dialS3 makes a client for S3 that tries each request three times, and gives up on a
// server that says nothing.
func (s *Store) dialS3(ctx context.Context, name string, query url.Values) (*blob.Bucket, error) {
	take := func(params ...string) (value string) {
		for _, param := range params {
			if query.Has(param) {
				value = query.Get(param)
			}
			query.Del(param)
		}
		return value
	}
	yes := func(params ...string) bool {
		on, err := strconv.ParseBool(take(params...))
		return err == nil && on
	}
	endpoint, pathStyle := take("endpoint"), yes("use_path_style", "s3ForcePathStyle")
	plain, accelerate := yes("disable_https", "disableSSL"), yes("accelerate")
	if endpoint != "" {
		if !strings.Contains(endpoint, "://") {
			endpoint = map[bool]string{false: "https://", true: "http://"}[plain] + endpoint
		}
		if e, err := url.Parse(endpoint); err != nil || e.Host == "" || e.User != nil || e.Scheme != "http" && e.Scheme != "https" {
			return nil, fmt.Errorf("endpoint is not the URL of a server")
		}
		// Not all servers know the checksums that the client would like to use; what was
		// written is verified anyway.
		for _, param := range []string{"request_checksum_calculation", "response_checksum_validation"} {
			if !query.Has(param) {
				query.Set(param, "when_required")
			}
		}
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, query)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		if endpoint == "" {
			return nil, fmt.Errorf("region is missing")
		}
		cfg.Region = "us-east-1" // what servers that have no regions expect in a signature
	}
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = s.cfg.Patience / 3
		t.MaxIdleConnsPerHost = 32
	})
	cfg.Logger = logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
		s.logger.Debug("client of the bucket: " + hide(fmt.Errorf(format, args...)).Error())
	})
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = 3, s.cfg.Patience/15
		})
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle, o.UseAccelerate = pathStyle, accelerate
		o.EndpointOptions.DisableHTTPS = plain
		o.DisableLogOutputChecksumValidationSkipped = true
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})
	return s3blob.OpenBucket(ctx, client, name, &s3blob.Options{RequestChecksumCalculation: cfg.RequestChecksumCalculation})
}
