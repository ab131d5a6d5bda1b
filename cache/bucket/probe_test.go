package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/blob/mem"
)

// credentialsOf sets those of a service.
func credentialsOf(t *testing.T, access, secret string) {
	newS3(t) // clears what else there is
	t.Setenv("AWS_ACCESS_KEY_ID", access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// wantRefused opens a store, which has to fail with these words and no secret.
func wantRefused(t *testing.T, url string, words ...string) {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Patience: 5 * time.Second})
	if err == nil {
		s.Close()
		t.Fatalf("it opens, want %q", words)
	}
	text := err.Error() + "\n" + k6x.AsError(err).Advice()
	if k6x.KindOf(err) != k6x.Invalid || strings.Contains(text, "a-secret") {
		t.Errorf("got %v of kind %v", text, k6x.KindOf(err))
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("got %q, want %q", text, word)
		}
	}
}

func TestWhatARealServerRefusesIsNamedAtTheStart(t *testing.T) {
	at := urlAt("http://" + blobtest.Versity(t))
	for name, c := range map[string]struct {
		access, secret, url string
		words               []string
	}{
		"no such key":     {"someone", "a-secret", at, []string{"credentials", "to write", "access key ID"}},
		"wrong secret":    {blobtest.AccessKey, "a-secret-of-others", at, []string{"credentials", "SignatureDoesNotMatch"}},
		"no credentials":  {"", "", at, []string{"credentials", "there are no credentials for S3"}},
		"wrong region":    {blobtest.AccessKey, blobtest.SecretKey, strings.Replace(at, "us-east-1", "eu-west-1", 1), []string{"another region", "us-east-1", "region="}},
		"no such bucket":  {blobtest.AccessKey, blobtest.SecretKey, strings.Replace(at, "//bucket", "//buckets", 1), []string{"does not exist", "NoSuchBucket"}},
		"other protocol":  {blobtest.AccessKey, blobtest.SecretKey, "azblob://bucket", []string{"AZURE_STORAGE_ACCOUNT"}},
		"anonymous write": {"", "", at + "&anonymous=true", []string{"refuses access", "to write", "rights"}},
	} {
		t.Run(name, func(t *testing.T) {
			credentialsOf(t, c.access, c.secret)
			wantRefused(t, c.url, c.words...)
		})
	}
	t.Run("all is well", func(t *testing.T) {
		credentialsOf(t, blobtest.AccessKey, blobtest.SecretKey)
		s := mustOpen(t, Config{URL: at})
		if left := names(t, s, ""); len(left) > 0 {
			t.Errorf("left is %v", left)
		}
	})
}

// s3Answers is a server that refuses everything.
func s3Answers(t *testing.T, status int, code string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>because</Message></Error>", code)
	}))
	t.Cleanup(server.Close)
	return urlAt(server.URL)
}

func TestRefusalsThatNoServerHereGivesAreNamed(t *testing.T) {
	for answer, words := range map[string][]string{
		"400 ExpiredToken":         {"expired", "renew"},
		"403 RequestTimeTooSkewed": {"clocks differ", "clock of its machine"},
		"301 PermanentRedirect":    {"another region", "region="},
		"403 AccessDenied":         {"refuses access", "to write an object", "rights"},
	} {
		t.Run(answer, func(t *testing.T) {
			credentialsOf(t, "someone", "a-secret")
			var status int
			var code string
			fmt.Sscan(answer, &status, &code)
			wantRefused(t, s3Answers(t, status, code), append(words, code, "because")...)
		})
	}
}

func TestTLSThatIsNotTrustedIsNamed(t *testing.T) {
	credentialsOf(t, "someone", "a-secret")
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	wantRefused(t, urlAt(server.URL), "certificate", "SSL_CERT_FILE")
}

// An outage may be over soon: it is no reason not to start.
func TestOutageIsNoReasonNotToStart(t *testing.T) {
	credentialsOf(t, "someone", "a-secret")
	for name, url := range map[string]string{"503": s3Answers(t, 503, "InternalError"), "no server": urlAt("http://127.0.0.1:1")} {
		s, err := Open(t.Context(), Config{URL: url, Patience: time.Second})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer s.Close()
		if err := s.Probe(t.Context(), false); k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What may not be done is named.
func TestRightThatIsMissingIsNamed(t *testing.T) {
	for verb, method := range map[string]string{"write": "put", "read": "open", "list": "list", "delete": "delete"} {
		s := mustOpen(t, Config{URL: "mem://"})
		faults := blobtest.NewFaults(s.bucket)
		s.bucket = faults
		faults.Before(func(c blobtest.Call) error {
			if c.Method == method {
				return &blob.ServiceError{Status: 403, Code: "AccessDenied"}
			}
			return nil
		})
		err := s.Probe(t.Context(), true)
		if k6x.KindOf(err) != k6x.Invalid || !strings.Contains(err.Error(), "to "+verb+" an object") {
			t.Errorf("%s: got %v", verb, err)
		}
		if thorough := s.Probe(t.Context(), false); (thorough != nil) != (verb == "read") {
			t.Errorf("%s: only read, got %v", verb, thorough)
		}
	}
}

// Two services that start at once do not delete each other's object, and what a killed one has left goes after a day.
func TestServicesThatTryTheirRightsAtOnce(t *testing.T) {
	b, now := new(mem.Bucket), time.Now()
	cfg := Config{Clock: func() time.Time { return now }}
	one, other := New(b, cfg), New(b, cfg)
	faults := blobtest.NewFaults(b)
	one.bucket = faults
	faults.Before(func(c blobtest.Call) error {
		if c.Method == "open" { // between its write and its read
			return other.Probe(t.Context(), true)
		}
		return nil
	})
	if err := one.Probe(t.Context(), true); err != nil {
		t.Error(err)
	}
	if left := names(t, one, ""); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
	for _, name := range []string{other.probed, "probes.of.others"} {
		if err := blob.PutBytes(t.Context(), b, name, []byte("x"), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		age  time.Duration
		want int
	}{{time.Hour, 2}, {25 * time.Hour, 1}} {
		now = time.Now().Add(c.age)
		if err := one.Trim(t.Context()); err != nil {
			t.Error(err)
		}
		if left := names(t, one, ""); len(left) != c.want || !slices.Contains(left, "probes.of.others") {
			t.Errorf("after %v there is %v", c.age, left)
		}
	}
}

func TestProbingEndsWithItsContext(t *testing.T) {
	s := mustOpen(t, Config{URL: "mem://"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Probe(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
