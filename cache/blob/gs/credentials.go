package gs

import (
	"cmp"
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
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"k6x/cache/blob"
	"k6x/cache/blob/internal/rest"
)

const scope = "https://www.googleapis.com/auth/cloud-platform"

// parameters are those of the URL of a bucket.
type parameters struct {
	anonymous bool
	accessID  string
	domain    string
	key       []byte // to sign with
	otherKey  bool   // than that of the credentials
}

func parse(params url.Values) (p parameters, err error) {
	for param, values := range params {
		value := values[0]
		var on bool
		switch param {
		case "anonymous", "grpc", "zonal":
			if on, err = strconv.ParseBool(cmp.Or(value, "false")); err != nil {
				return p, fmt.Errorf("%s is true or false", param)
			}
			if on && param != "anonymous" {
				return p, fmt.Errorf("%s: buckets are reached by the JSON interface only, not by gRPC", param)
			}
			p.anonymous = p.anonymous || on
		case "access_id":
			p.accessID = value
			p.anonymous = p.anonymous || value == "-"
		case "universe_domain":
			p.domain = value
		case "private_key_path":
			p.otherKey = true
			if value != "" {
				if p.key, err = os.ReadFile(value); err != nil {
					return p, fmt.Errorf("private_key_path: %w", err)
				}
			}
		default:
			return p, fmt.Errorf("unknown query parameter %.40q", param)
		}
	}
	return p, nil
}

// credentials are what requests are made with.
type credentials struct {
	tokens oauth2.TokenSource // nil: none
	signer *signer            // nil: none
	domain string
}

// credentials finds those of the environment. That there are none is no error before a request is made: rights may have been given
// to everybody.
func (p parameters) credentials(ctx context.Context, client *http.Client) (credentials, error) {
	var c credentials
	var account struct {
		Email  string `json:"client_email"`
		Key    string `json:"private_key"`
		Domain string `json:"universe_domain"`
	}
	if !p.anonymous {
		ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client) // which tokens are fetched with, for as long as there is the bucket
		found, err := google.FindDefaultCredentialsWithParams(ctx, google.CredentialsParams{Scopes: []string{scope}, UniverseDomain: p.domain})
		if err != nil {
			c.tokens = failing{err}
		} else {
			c.tokens = found.TokenSource
			if found.JSON != nil {
				err = json.Unmarshal(found.JSON, &account)
			}
			if err != nil {
				return c, fmt.Errorf("file of credentials: %w", err)
			}
		}
	}
	c.domain = cmp.Or(p.domain, account.Domain, "googleapis.com")
	email, key := account.Email, []byte(account.Key)
	if p.accessID != "" && p.accessID != email {
		email, key = p.accessID, nil
	}
	if p.otherKey {
		key = p.key
	}
	if email == "" || email == "-" || len(key) == 0 {
		return c, nil
	}
	var err error
	c.signer, err = newSigner(email, key)
	return c, err
}

// failing says with each request why there are no credentials.
type failing struct{ err error }

func (f failing) Token() (*oauth2.Token, error) { return nil, f.err }

// fetch returns a token, or the error of ctx if that ends first: a source does not know of it.
func fetch(ctx context.Context, from oauth2.TokenSource) (*oauth2.Token, error) {
	type answer struct {
		token *oauth2.Token
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		token, err := from.Token()
		answers <- answer{token, err}
	}()
	select {
	case a := <-answers:
		return a.token, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refused returns an error of a server of tokens as one of a [blob.Bucket], if the server has answered.
func refused(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || e.Response == nil {
		return err
	}
	answer := &blob.ServiceError{Status: e.Response.StatusCode, Code: e.ErrorCode, Message: e.ErrorDescription}
	switch {
	case answer.Status >= http.StatusInternalServerError:
	case rest.Skewed(e.Response.Header):
		answer.Fault = blob.Clock
	case strings.Contains(strings.ToLower(answer.Message), "expired"):
		answer.Fault = blob.Expired
	default:
		answer.Fault = blob.Credentials
	}
	return answer
}

// signer signs URLs as a service account
// (https://cloud.google.com/storage/docs/access-control/signing-urls-manually).
type signer struct {
	email string
	key   *rsa.PrivateKey
}

func newSigner(email string, key []byte) (*signer, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("the key of the service account is no PEM")
	}
	var parsed any
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.Join(errors.New("the key of the service account is no RSA key"), err)
	}
	return &signer{email, private}, nil
}

// sign returns the URL of a request with a header, by version 4 of Google's signatures.
func (s *signer) sign(method, host, path string, header http.Header, life time.Duration, now time.Time) (string, error) {
	now = now.UTC()
	day, stamp := now.Format("20060102"), now.Format("20060102T150405Z")
	span := day + "/auto/storage/goog4_request"
	signed, lines := []string{"host"}, "host:"+host+"\n" // which is before all that begins with x
	for _, name := range slices.Sorted(maps.Keys(header)) {
		signed = append(signed, strings.ToLower(name))
		lines += strings.ToLower(name) + ":" + header.Get(name) + "\n"
	}
	names := strings.Join(signed, ";")
	query := url.Values{
		"X-Goog-Algorithm":     {"GOOG4-RSA-SHA256"},
		"X-Goog-Credential":    {s.email + "/" + span},
		"X-Goog-Date":          {stamp},
		"X-Goog-Expires":       {strconv.Itoa(int(life / time.Second))},
		"X-Goog-SignedHeaders": {names},
	}
	var segments []string
	for segment := range strings.SplitSeq(path, "/") {
		segments = append(segments, strings.ReplaceAll(url.QueryEscape(segment), "+", "%20"))
	}
	path = strings.Join(segments, "/")
	encoded := strings.ReplaceAll(query.Encode(), "+", "%20")
	request := sha256.Sum256([]byte(strings.Join([]string{method, path, encoded, lines, names, "UNSIGNED-PAYLOAD"}, "\n")))
	digest := sha256.Sum256([]byte(strings.Join([]string{"GOOG4-RSA-SHA256", stamp, span, hex.EncodeToString(request[:])}, "\n")))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign a URL: %w", err)
	}
	return "https://" + host + path + "?" + encoded + "&X-Goog-Signature=" + hex.EncodeToString(signature), nil
}
