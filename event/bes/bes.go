// Package bes is a client of a Build Event Service (google.devtools.build.v1.PublishBuildEvent), to which a build can be
// watched elsewhere, by what Bazel's users have for it.
//
// A [Client] has a connection, and a [Stream] is what it sends of one invocation. A stream takes events at once and sends
// them as the backend lets it: a backend that is slow, gone or says no never holds up a build. Events are kept until they
// are acknowledged, within a bound. If the connection breaks, the stream goes on from the last acknowledgement.
//
// Files: bes.go has the connection, stream.go the stream, lifecycle.go what goes before and after it.
package bes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	build "google.golang.org/genproto/googleapis/devtools/build/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"k6x"
)

// Bounds and waits of the protocol as Bazel's client has them, but for the memory.
const (
	retries       = 4                // of a broken stream that brought no acknowledgement, and of a call
	firstWait     = time.Second      // before the first of them; each later one is 1.6 times as long
	callTimeout   = 15 * time.Second // of a lifecycle event
	maxUnacked    = 16 << 20         // bytes of events that are kept until they are acknowledged
	maxAckMessage = 64 << 10
)

// Config says where a backend is, and how it is spoken to.
type Config struct {
	Backend     string   // grpc://HOST:PORT, or grpcs://HOST:PORT with TLS, which is meant without a scheme too
	Headers     []string // NAME=VALUE, of each call
	ProjectID   string   // "": none
	Lifecycle   bool     // send lifecycle events
	Certificate string   // a file of certificates in PEM to trust; "": those of the system
	TLS         bool     // also for grpc://

	// Credentials are those of each call; nil: none. They are not sent without TLS.
	Credentials credentials.PerRPCCredentials

	wait func(context.Context, time.Duration) error // for tests; nil: really
}

// Client sends streams to one backend. It may be used by several goroutines at once.
type Client struct {
	cfg     Config
	conn    *grpc.ClientConn
	calls   build.PublishBuildEventClient
	headers metadata.MD
}

// Dial returns a client. It connects when there is something to send.
//
// Errors:
//   - [k6x.Invalid]: the address, a header or the file of certificates is not one
func Dial(cfg Config) (*Client, error) {
	scheme, host, ok := strings.Cut(cfg.Backend, "://")
	if !ok {
		scheme, host = "grpcs", cfg.Backend
	}
	if scheme != "grpc" && scheme != "grpcs" || host == "" || strings.ContainsAny(host, "/@?#") {
		return nil, k6x.Errorf(k6x.Invalid, "%q is no address of a build event service", redacted(cfg.Backend)).
			WithHint("Name it as grpc://HOST:PORT, or with TLS as grpcs://HOST:PORT.")
	}
	headers := metadata.MD{}
	for _, h := range cfg.Headers {
		name, value, ok := strings.Cut(h, "=")
		if name = strings.ToLower(strings.TrimSpace(name)); !ok || !headerName(name) {
			return nil, k6x.Errorf(k6x.Invalid, "a header for the build event service is not of the form NAME=VALUE")
		}
		headers.Append(name, value)
	}
	transport := insecure.NewCredentials()
	if scheme == "grpcs" || cfg.TLS {
		trust, err := certificates(cfg.Certificate)
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(&tls.Config{RootCAs: trust})
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithUserAgent("k6x"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAckMessage)),
	}
	if cfg.Credentials != nil {
		options = append(options, grpc.WithPerRPCCredentials(cfg.Credentials))
	}
	conn, err := grpc.NewClient(host, options...)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the build event service %s cannot be used", redacted(cfg.Backend)).WithCause(err)
	}
	if cfg.wait == nil {
		cfg.wait = wait
	}
	return &Client{cfg: cfg, conn: conn, calls: build.NewPublishBuildEventClient(conn), headers: headers}, nil
}

// Close closes the connection, which ends streams that are under way.
func (c *Client) Close() error { return c.conn.Close() }

func headerName(name string) bool {
	return name != "" && !strings.HasPrefix(name, "grpc-") &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// redacted returns an address without its user, which has no place there, but may be given.
func redacted(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return "…" + address[at:]
	}
	return address
}

func certificates(name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the certificates of the build event service cannot be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, k6x.Errorf(k6x.Invalid, "%s has no certificate in PEM", name)
	}
	return pool, nil
}

// try makes a call until it does not fail in a way that may pass.
func (c *Client) try(ctx context.Context, call func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		limited, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, c.headers), callTimeout)
		err := call(limited)
		cancel()
		if err == nil || final(err) || attempt == retries || ctx.Err() != nil {
			return err
		}
		if err := c.cfg.wait(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

// final reports whether an error would come again.
func final(err error) bool {
	if _, ok := errors.AsType[finalError](err); ok {
		return true
	}
	code := status.Code(err)
	return code == codes.InvalidArgument || code == codes.FailedPrecondition
}

// finalError is an error after which no other attempt is made.
type finalError struct{ error }

func backoff(attempt int) time.Duration {
	d := firstWait
	for range attempt {
		d = d * 16 / 10
	}
	return d
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failed returns the error of a stream in words.
func (c *Client) failed(err error) error {
	return fmt.Errorf("the build event service %s did not take all events: %w", redacted(c.cfg.Backend), err)
}
