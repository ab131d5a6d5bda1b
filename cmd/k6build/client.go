package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/progress"
)

const (
	maxTries  = 6       // of a request to a service
	maxAnswer = 1 << 20 // bytes of an answer that is no binary
)

// buildClient is a client of the k6build API of a service. Its token is sent with requests for builds, not for binaries.
type buildClient struct{ client.Client }

// newClient returns a client of the service at the URL that --server has.
func newClient(server, token string) (*buildClient, error) {
	base, err := cli.ParseURL("server", server, "the URL of a service, such as http://localhost:8000")
	if err != nil {
		return nil, err
	}
	return &buildClient{client.Client{Base: base, Token: token, HTTP: &http.Client{}, Tries: maxTries}}, nil
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

// nestedError is an error as services write it: a message, and the error that is its reason. A string is
// read as one without a reason.
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

// innermost returns the message of the innermost reason; "" of no error.
func (e *nestedError) innermost() string {
	if e == nil {
		return ""
	}
	if words := e.reason.innermost(); words != "" {
		return words
	}
	return strings.TrimSpace(e.text)
}

// mentions reports whether words are the message of the error or of one of its reasons.
func (e *nestedError) mentions(words string) bool {
	return e != nil && (e.text == words || e.reason.mentions(words))
}

// build asks the service for a binary, for as long as it takes. A request that fails in a way that may pass is tried
// again.
func (c *buildClient) build(ctx context.Context, want buildRequest) (artifact, error) {
	body, err := json.Marshal(want)
	if err != nil {
		return artifact{}, err
	}
	var made artifact
	err = c.Retry(ctx, func() (err error) {
		made, err = c.post(ctx, body)
		return err
	})
	return made, err
}

func (c *buildClient) post(ctx context.Context, body []byte) (artifact, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base.JoinPath("build").String(), bytes.NewReader(body))
	if err != nil {
		return artifact{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	var answer buildAnswer
	resp, data, bad, err := exchange(c.HTTP, req, c.Token, &answer)
	if err != nil {
		return artifact{}, client.Unreachable(c.Base.Host, err)
	}
	switch words := answer.Error.innermost(); {
	case resp.StatusCode != http.StatusOK:
		return artifact{}, refused(resp, words, data)
	case bad != nil:
		return artifact{}, k6x.Errorf(k6x.Unavailable, "%s does not answer as a build service does", c.Base).
			WithHint("Is --server right?").WithCause(bad)
	case words != "":
		return artifact{}, k6x.Errorf(k6x.Invalid, "%s", k6x.Printable(words))
	}
	return c.validate(answer.Artifact)
}

// exchange sends a request with a token, if there is one, and reads the answer, which is bounded. Bad says why it is not the JSON
// of answer. After an error the response is nil if there is none.
func exchange(c *http.Client, req *http.Request, token string, answer any) (resp *http.Response, data []byte, bad, err error) {
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if resp, err = c.Do(req); err != nil {
		return nil, nil, nil, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp, data, json.Unmarshal(data, answer), err
}

// validate returns a with an absolute URL, or an error unless it has a URL and a checksum.
func (c *buildClient) validate(a artifact) (artifact, error) {
	u, err := c.Base.Parse(a.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return artifact{}, k6x.Errorf(k6x.Unavailable, "the service gives no URL that the binary could be had from")
	}
	a.URL, a.Checksum = u.String(), strings.ToLower(a.Checksum)
	if k6x.CheckKey(a.Checksum) != nil {
		return artifact{}, k6x.Errorf(k6x.Unavailable, "the service gives no checksum of the binary")
	}
	return a, nil
}

// refused returns the error for an answer without an artifact. Words are those of the
// server, if it has any.
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
		return client.Temporary(e, time.Duration(min(max(0, seconds), 3600))*time.Second)
	}
	return e
}

// download fetches the binary into the file name, checks it, and makes it executable. A download that
// breaks off is resumed. If it fails, the file is as it was before.
func (c *buildClient) download(ctx context.Context, a artifact, name string, shown *progress.Display) error {
	file, err := cli.CreateOutput(name, "output")
	if err != nil {
		return err
	}
	defer file.Discard()
	c.Progress = func(e client.Event) {
		if e.Step == client.Downloading {
			shown.Bytes("downloading", e.Done, e.Total)
		}
	}
	if _, err := c.Download(ctx, a.URL, a.Checksum, file); err != nil {
		return err
	}
	return file.Commit()
}

// tokenVariable has a token for a build service.
const tokenVariable = "K6BUILD_TOKEN"

type remoteOptions struct {
	requestOptions
	server    string
	tokenFile string
}

func newRemoteCommand() *cobra.Command {
	var o remoteOptions
	cmd := &cobra.Command{
		Use:   "remote",
		Short: "Have a build service build k6",
		Long: `Have a build service build k6, and print what it made. With --output the binary is
downloaded and its checksum compared.

A service that wants a token gets the one in the variable ` + tokenVariable + `, or in --token-file.`,
		Example: `  k6build remote -d k6/x/redis:v0.3.6 -o k6
  k6build remote -s https://builds.example.com -k v1.8.1 -p windows/amd64 -o k6.exe`,
		Args: cobra.NoArgs,
		RunE: o.run,
	}
	f := cmd.Flags()
	o.addFlags(f, "")
	f.StringVarP(&o.server, "server", "s", "http://localhost:8000", "`URL` of the build service")
	f.StringVar(&o.tokenFile, "token-file", "", "`file` with the token for the service")
	return cmd
}

func (o *remoteOptions) run(cmd *cobra.Command, _ []string) error {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	if _, err := k6x.ParsePlatform(o.platform); err != nil {
		return cli.Usage(err)
	}
	deps, err := o.dependencies()
	if err != nil {
		return err
	}
	token, err := cli.Token(tokenVariable, o.tokenFile)
	if err != nil {
		return err
	}
	c, err := newClient(o.server, token)
	if err != nil {
		return err
	}
	shown := progress.New(stderr, o.quiet)
	defer shown.Close()
	shown.Spin("building at " + c.Base.Host)
	made, err := c.build(ctx, buildRequest{K6: o.k6, Dependencies: deps, Platform: o.platform, K6ModPath: o.k6ModPath})
	if err != nil {
		return err
	}
	if o.output != "" {
		if err := c.download(ctx, made, o.output, shown); err != nil {
			return err
		}
	}
	shown.Close()
	for _, warning := range made.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", k6x.Printable(warning))
	}
	if o.quiet {
		return nil
	}
	return made.print(cli.Summary(cmd, o.output))
}
