package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k6x"
	"k6x/resolver"
)

// maxBody bounds the body, and the query, of a request for a build.
const maxBody = 64 << 10

// buildRequest is what a client of the build API wants, in our words.
type buildRequest struct {
	platform k6x.Platform
	list     k6x.List
	major    int  // of k6
	nocache  bool // build it again, and compare
}

// malformed is a request that could not be read: its client is wrong, not its user.
type malformed struct{ err *k6x.Error }

func (e *malformed) Error() string { return e.err.Error() }
func (e *malformed) Unwrap() error { return e.err }

func malformedf(format string, args ...any) error {
	return &malformed{k6x.Errorf(k6x.Invalid, format, args...)}
}

// wireDependency is a dependency as the build API has it.
type wireDependency struct {
	Name        string `json:"name"`
	Constraints string `json:"constraints"`
}

// resolveBody is the body of POST /resolve.
type resolveBody struct {
	K6           string           `json:"k6"`
	Dependencies []wireDependency `json:"dependencies"`
	K6ModPath    string           `json:"k6_mod_path"`
}

// buildBody is the body of POST /build.
type buildBody struct {
	resolveBody
	Platform string `json:"platform"`
	NoCache  bool   `json:"nocache"`
}

// request checks what a body says. Errors are of kind Invalid, NotFound or Conflict.
func (b buildBody) request() (buildRequest, error) {
	req, err := b.resolveBody.request()
	if err != nil {
		return buildRequest{}, err
	}
	if b.Platform == "" {
		return buildRequest{}, k6x.Errorf(k6x.NotFound, "the request names no platform").WithCause(k6x.ErrInvalidPlatform).
			WithHint("A platform is written goos/goarch, for example linux/amd64.")
	}
	req.nocache = b.NoCache
	req.platform, err = k6x.ParsePlatform(b.Platform)
	return req, err
}

func (b resolveBody) request() (buildRequest, error) {
	deps, named := make([]k6x.Dependency, 0, len(b.Dependencies)+1), false
	add := func(name, constraints string) error {
		dep, err := k6x.NewDependency(name, constraints)
		deps = append(deps, dep)
		named = named || name == k6x.K6
		return err
	}
	for _, dep := range b.Dependencies {
		if err := add(dep.Name, dep.Constraints); err != nil {
			return buildRequest{}, err
		}
	}
	if b.K6 != "" || !named {
		if err := add(k6x.K6, b.K6); err != nil {
			return buildRequest{}, err
		}
	}
	list, err := k6x.NewList(deps...)
	if err != nil {
		return buildRequest{}, err
	}
	major, err := majorOf(b.K6ModPath)
	if err != nil {
		return buildRequest{}, err
	}
	return buildRequest{list: list, major: major}, resolver.CheckMajor(list, major)
}

// majorOf returns the major version of k6 that its module path stands for. Clients that
// do not give the path are of the time when there was one.
func majorOf(modPath string) (int, error) {
	switch modPath {
	case "", "go.k6.io/k6":
		return 1, nil
	case "go.k6.io/k6/v2":
		return 2, nil
	}
	return 0, k6x.Errorf(k6x.Invalid, "%q is not the module path of a k6", k6x.Clip(modPath)).
		WithHint("It is go.k6.io/k6 or go.k6.io/k6/v2.")
}

// readBody reads the body of r into v, if its client may build.
func (s *Service) readBody(w *response, r *http.Request, v any) error {
	if err := s.cfg.Tokens.Check(r); err != nil {
		refuseBody(w, r)
		return err
	}
	return readJSON(w, r, v)
}

// readJSON reads the body of r into v: one JSON value with known fields only. The error
// is malformed.
func readJSON(w *response, r *http.Request, v any) error {
	c := http.NewResponseController(w.ResponseWriter)
	_ = c.SetReadDeadline(time.Now().Add(bodyTime)) // a recorder in a test has no deadlines
	data, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return malformedf("the body is larger than %d bytes", maxBody)
	}
	if err != nil {
		w.Header().Set("Connection", "close")
		return malformedf("the body could not be read")
	}
	// A build may take long; a deadline that passes meanwhile would look as if the client left.
	_ = c.SetReadDeadline(time.Time{})
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return malformedf("%s", k6x.Clip(jsonFault(err)))
	}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return malformedf("the body is a JSON null, not an object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return malformedf("there is more in the body than one JSON object")
	}
	return nil
}

// jsonFault says what is wrong with a body, without our types' names.
func jsonFault(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return "the body is a JSON " + e.Value + ", not an object"
		}
		return fmt.Sprintf("%s cannot be a %s", strings.TrimPrefix(e.Field, "resolveBody."), e.Value)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("the body is not JSON at byte %d: %s", e.Offset, e)
	}
	switch {
	case errors.Is(err, io.EOF):
		return "the body is empty"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the body ends in the middle of its JSON"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// parseQuery reads the query of GET /build.
func parseQuery(query string) (buildBody, error) {
	if len(query) > maxBody {
		return buildBody{}, malformedf("the query is longer than %d bytes", maxBody)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return buildBody{}, malformedf("the query is not well formed")
	}
	var b buildBody
	for name, list := range values {
		if len(list) > 1 && name != "dep" {
			return buildBody{}, malformedf("%s is given more than once", k6x.Clip(name))
		}
		switch name {
		case "platform":
			b.Platform = list[0]
		case "k6":
			b.K6 = list[0]
		case "k6modpath":
			b.K6ModPath = list[0]
		case "dep":
			for _, item := range list {
				b.Dependencies = append(b.Dependencies, splitDependency(item))
			}
		case "nocache":
			if b.NoCache, err = strconv.ParseBool(list[0]); err != nil {
				return buildBody{}, malformedf("nocache is true or false, not %q", k6x.Clip(list[0]))
			}
		default:
			return buildBody{}, malformedf("unknown parameter %q", k6x.Clip(name))
		}
	}
	return b, nil
}

// splitDependency cuts name:constraint at its colon. The one of subcommand:NAME is part
// of the name; a constraint has none.
func splitDependency(item string) wireDependency {
	const prefix = "subcommand:"
	rest, subcommand := strings.CutPrefix(item, prefix)
	name, constraints, _ := strings.Cut(rest, ":")
	if subcommand {
		name = prefix + name
	}
	return wireDependency{name, constraints}
}
