package gs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// account writes the file of a service account whose tokens come from a server, and returns the name of the file.
func account(t *testing.T, tokens string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "k6x@test.iam.gserviceaccount.com", "token_uri": tokens,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRequestsHaveTheTokenOfTheAccount(t *testing.T) {
	var asked, token string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r.ParseForm()
			asked = r.Form.Get("grant_type")
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"access_token":"of-the-account","token_type":"Bearer","expires_in":3600}`)
			return
		}
		token = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"error":{"code":403,"message":"no rights","errors":[{"reason":"forbidden"}]}}`)
	}))
	defer server.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", account(t, server.URL))
	b, err := Open(t.Context(), "bucket", url.Values{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	b.base = server.URL
	_, err = b.Stat(t.Context(), "name")
	if err == nil || !strings.Contains(err.Error(), "no rights") || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("got %v", err)
	}
	if token != "Bearer of-the-account" || asked != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Errorf("the token %q was asked for by %q", token, asked)
	}
}

func TestSignedURL(t *testing.T) {
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", account(t, "http://localhost"))
	b, err := Open(t.Context(), "bucket", url.Values{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := b.SignedURL(t.Context(), "dir/a name", 15*time.Minute)
	want := `^https://storage\.googleapis\.com/bucket/dir/a%20name\?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=k6x%40test\.iam\.gserviceaccount\.com%2F\d{8}%2Fauto%2Fstorage%2Fgoog4_request` +
		`&X-Goog-Date=\d{8}T\d{6}Z&X-Goog-Expires=900&X-Goog-SignedHeaders=host&X-Goog-Signature=[0-9a-f]{512}$`
	if err != nil || !regexp.MustCompile(want).MatchString(signed) {
		t.Errorf("got %s, %v", signed, err)
	}
	for _, params := range []string{"anonymous=true", "access_id=-", "access_id=other", "private_key_path="} {
		values, err := url.ParseQuery(params)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), "bucket", values, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.SignedURL(t.Context(), "name", time.Minute); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: got %v, want ErrUnsupported", params, err)
		}
	}
}

// The example of the documentation of signatures, by its shape: the same input gives the same text to sign.
func TestSignatureIsTheSameForTheSameTime(t *testing.T) {
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", account(t, "http://localhost"))
	b, err := Open(t.Context(), "bucket", url.Values{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	one, err1 := b.signer.sign("GET", "host", "/bucket/x", nil, time.Minute, now)
	two, err2 := b.signer.sign("GET", "host", "/bucket/x", nil, time.Minute, now)
	other, err3 := b.signer.sign("GET", "host", "/bucket/y", nil, time.Minute, now)
	if err := errors.Join(err1, err2, err3); err != nil || one != two || one == other {
		t.Errorf("%s\n%s\n%s\n%v", one, two, other, err)
	}
}

// What is signed of a request that puts is as Google's documentation of canonical requests has it.
func TestSignedPut(t *testing.T) {
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", account(t, "http://localhost"))
	b, err := Open(t.Context(), "bucket", url.Values{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := b.SignedPut(t.Context(), "staging/x", 1234, time.Minute)
	if err != nil || len(signed.Header) != 2 || signed.Header.Get("X-Goog-If-Generation-Match") != "0" || signed.Header.Get("X-Goog-Content-Length-Range") != "1234,1234" {
		t.Fatalf("got %+v, %v", signed, err)
	}
	query, signature, _ := strings.Cut(strings.TrimPrefix(signed.URL, "https://storage.googleapis.com/bucket/staging/x?"), "&X-Goog-Signature=")
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	request := sha256.Sum256([]byte("PUT\n/bucket/staging/x\n" + query + `
host:storage.googleapis.com
x-goog-content-length-range:1234,1234
x-goog-if-generation-match:0

host;x-goog-content-length-range;x-goog-if-generation-match
UNSIGNED-PAYLOAD`))
	stamp := values.Get("X-Goog-Date")
	text := sha256.Sum256(fmt.Appendf(nil, "GOOG4-RSA-SHA256\n%s\n%s/auto/storage/goog4_request\n%x", stamp, stamp[:8], request))
	got, err := hex.DecodeString(signature)
	if err == nil {
		err = rsa.VerifyPKCS1v15(&b.signer.key.PublicKey, crypto.SHA256, text[:], got)
	}
	if err != nil {
		t.Errorf("%s: %v", signed.URL, err)
	}
}

func TestParametersThatMeanNothingAreRefused(t *testing.T) {
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	for _, params := range []string{"unknown=1", "anonymous=maybe", "grpc=true", "zonal=true", "private_key_path=/does/not/exist"} {
		values, err := url.ParseQuery(params)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), "bucket", values, time.Minute); err == nil {
			t.Errorf("%s: no error", params)
		}
	}
}

// Without credentials it is the request that fails, and says why.
func TestNoCredentials(t *testing.T) {
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none"))
	b, err := Open(t.Context(), "bucket", url.Values{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Stat(t.Context(), "name"); err == nil || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("got %v", err)
	}
}

// silent is a source of tokens that does not answer before the test ends.
type silent struct{ over <-chan struct{} }

func (s silent) Token() (*oauth2.Token, error) {
	<-s.over
	return nil, errors.New("the test is over")
}

func TestSourceOfTokensThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fetch(ctx, silent{t.Context().Done()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
