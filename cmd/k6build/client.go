package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k6x"
	"k6x/launcher/remote"
)

// Bounds of what is tried again, and of what a service may say.
const (
	maxTries  = 6
	maxAnswer = 1 << 20 // bytes
)

// client talks to a build service.
type client struct {
	base  *url.URL
	token string // sent to the service with requests for builds; "": none
	http  *http.Client
	pause func(ctx context.Context, d time.Duration) error // between tries; nil: by the clock
	stall time.Duration                                    // how long a download may go without a byte; 0: as remote has it
}

// newClient returns a client of the service at a base URL.
func newClient(base, token string) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("--server %q is not the URL of a service, such as http://localhost:8000", base)
	}
	return &client{base: u, token: token, http: &http.Client{}}, nil
}

// transport returns what asks again where that is of use, and downloads. Tokens are for builds: it has none.
func (c *client) transport() *remote.Client {
	return &remote.Client{HTTP: c.http, Tries: maxTries, Pause: c.pause, Stall: c.stall}
}

// buildRequest is the body of POST /build.
type buildRequest struct {
	K6           string       `json:"k6"`
	Dependencies []dependency `json:"dependencies"`
	Platform     string       `json:"platform"`
	K6ModPath    string       `json:"k6_mod_path,omitempty"`
}

// artifact is a binary as a service describes it.
type artifact struct {
	ID           string            `json:"id"`
	URL          string            `json:"url"`
	Dependencies map[string]string `json:"dependencies"`
	Platform     string            `json:"platform"`
	Checksum     string            `json:"checksum"`
	Warnings     []string          `json:"warnings"`
}

// buildAnswer is the answer to POST /build.
type buildAnswer struct {
	Error    *nestedError `json:"error"`
	Artifact artifact     `json:"artifact"`
}

// nestedError is an error as services tell it: words, and what is beneath them. A text is
// read as one without anything beneath.
type nestedError struct {
	text   string
	reason *nestedError
}

func (e *nestedError) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &e.text)
	}
	var fields struct {
		Error  string       `json:"error"`
		Reason *nestedError `json:"reason"`
	}
	err := json.Unmarshal(data, &fields) // which bounds the depth
	e.text, e.reason = fields.Error, fields.Reason
	return err
}

// innermost returns the words of the cause; "" of no error.
func (e *nestedError) innermost() string {
	if e == nil {
		return ""
	}
	if words := e.reason.innermost(); words != "" {
		return words
	}
	return strings.TrimSpace(e.text)
}

// mentions reports whether words are those of the error, or of one beneath it.
func (e *nestedError) mentions(words string) bool {
	return e != nil && (e.text == words || e.reason.mentions(words))
}

// build asks the service for a binary, for as long as it takes. What may be gone the next
// time is tried again.
func (c *client) build(ctx context.Context, want buildRequest) (artifact, error) {
	body, err := json.Marshal(want)
	if err != nil {
		return artifact{}, err
	}
	var made artifact
	err = c.transport().Retry(ctx, func() (err error) {
		made, err = c.post(ctx, body)
		return err
	})
	return made, err
}

func (c *client) post(ctx context.Context, body []byte) (artifact, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath("build").String(), bytes.NewReader(body))
	if err != nil {
		return artifact{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return artifact{}, remote.Unreachable(c.base.Host, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return artifact{}, remote.Unreachable(c.base.Host, err)
	}
	var answer buildAnswer
	bad := json.Unmarshal(data, &answer)
	switch words := answer.Error.innermost(); {
	case resp.StatusCode != http.StatusOK:
		return artifact{}, refused(resp, words, data)
	case bad != nil:
		return artifact{}, k6x.Errorf(k6x.Unavailable, "%s does not answer as a build service does", c.base).
			WithHint("Is --server right?").WithCause(bad)
	case words != "":
		return artifact{}, k6x.Errorf(k6x.Invalid, "%s", k6x.Printable(words))
	}
	return c.check(answer.Artifact)
}

// check returns a with an absolute URL, if it is what a service may say.
func (c *client) check(a artifact) (artifact, error) {
	u, err := c.base.Parse(a.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return artifact{}, k6x.Errorf(k6x.Unavailable, "the service gives no URL that the binary could be had from")
	}
	a.URL, a.Checksum = u.String(), strings.ToLower(a.Checksum)
	if k6x.CheckKey(a.Checksum) != nil {
		return artifact{}, k6x.Errorf(k6x.Unavailable, "the service gives no checksum of the binary")
	}
	return a, nil
}

// refused returns the error for an answer whose status says that it is none. Words are the
// server's, if it has any; body is what it sent.
func refused(resp *http.Response, words string, body []byte) error {
	if words == "" && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		words, _, _ = strings.Cut(strings.TrimSpace(string(body)), "\n")
	}
	if words == "" {
		words = http.StatusText(resp.StatusCode)
	}
	e := k6x.Errorf(k6x.Unavailable, "%s: %s", k6x.Printable(resp.Status), k6x.Printable(words))
	if resp.StatusCode == http.StatusUnauthorized {
		e = e.WithHint("Give the service's token with K6BUILD_TOKEN or --token-file.")
	}
	switch resp.StatusCode {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return remote.Temporary(e, time.Duration(min(max(0, seconds), 3600))*time.Second)
	}
	return e
}
