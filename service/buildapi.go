package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
)

// The paths of the k6build API (docs/contracts.md, section 4).
const (
	buildPath   = "/build"
	resolvePath = "/resolve"
)

// wireArtifact is a binary as the build API describes it.
type wireArtifact struct {
	ID           string            `json:"id"` // its digest: clients keep the bytes under it and do not hash them again
	URL          string            `json:"url"`
	Dependencies map[string]string `json:"dependencies"`
	Platform     string            `json:"platform"`
	Checksum     string            `json:"checksum"` // hex SHA-256
	K6ModPath    string            `json:"k6_mod_path"`
	Warnings     []string          `json:"warnings,omitempty"`
}

// builtBinary is a binary that is kept.
type builtBinary struct {
	resolved
	digest  string
	differs bool // building it again gave other bytes
}

// failNested writes the error of a request of the build API.
func (s *Service) failNested(w *response, r *http.Request, err error) {
	if errors.Is(err, errOtherOrigin) { // by a browser, which takes 200 for done
		s.fail(w, r, err)
		return
	}
	p := s.problem(w, r, err)
	if words := K6buildWords(err); words != "" {
		p.Detail = words + ": " + p.Detail
	}
	writeNested(w, r, p)
}

// buildByBody answers POST of /build. Caches do not keep what POST gets unless they are told to; those that are, are told for how long.
func (s *Service) buildByBody(w *response, r *http.Request) error {
	var body buildBody
	if err := s.readBody(w, r, &body); err != nil {
		return err
	}
	answer, err := s.answer(w, r, body, "no-store")
	if err == nil {
		_, err = w.Write(answer)
	}
	return err
}

// buildByQuery answers GET and HEAD of /build.
func (s *Service) buildByQuery(w *response, r *http.Request) error {
	if err := s.cfg.Tokens.Check(r); err != nil {
		return err
	}
	body, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	answer, err := s.answer(w, r, body, "no-cache")
	if err == nil {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(answer))
	}
	return err
}

// resolveByBody answers POST of /resolve.
func (s *Service) resolveByBody(w *response, r *http.Request) error {
	var body resolveBody
	if err := s.readBody(w, r, &body); err != nil {
		return err
	}
	req, err := body.request()
	if err != nil {
		return err
	}
	return s.untilDrained(r.Context(), func(ctx context.Context) error {
		resolution, err := s.cfg.Resolver.ResolveMajor(ctx, req.list, req.major)
		if err != nil {
			return err
		}
		w.outcome = "resolved"
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		_, err = w.Write(encode(struct {
			Dependencies map[string]string `json:"dependencies"`
		}{versions(resolution.List())}))
		return err
	})
}

// answer makes sure that what body asks for is kept, and describes it. The description is the same whether it was built for this
// request or long ago. It sets the headers that go with it; fresh is the Cache-Control unless the operator has given an age.
func (s *Service) answer(w *response, r *http.Request, body buildBody, fresh string) (_ []byte, err error) {
	start := time.Now()
	defer func() { s.metrics.k6build.request(time.Since(start), err) }()
	req, err := body.request()
	if err != nil {
		return nil, err
	}
	if !s.builds(req.platform) {
		return nil, k6x.UnknownPlatform(req.platform.String(), s.cfg.Platforms...)
	}
	if err := s.cfg.Resolver.Permit(req.list); err != nil {
		return nil, err
	}
	var made builtBinary
	err = s.untilDrained(r.Context(), func(ctx context.Context) (err error) {
		made, err = s.lookUpOrBuild(ctx, w, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	location := s.absolute(r, made.canonical)
	if s.cfg.Publish != nil {
		location, err = s.cfg.Publish(r.Context(), made.digest, func(ctx context.Context) (*cache.Entry, error) {
			return s.build(ctx, made.resolved, builder.Job{Client: w.client}, nil)
		})
		if err != nil {
			return nil, err
		}
	}
	artifact := wireArtifact{
		ID: made.digest, URL: location, Dependencies: versions(made.list), Platform: req.platform.String(),
		Checksum: made.digest, K6ModPath: made.recipe.K6.Path,
		Warnings: slices.Concat(s.cfg.Resolver.Warnings(append([]k6x.Module{made.recipe.K6}, made.recipe.Extensions...)), made.warnings),
	}
	if made.differs {
		artifact.Warnings = append(artifact.Warnings, "building it again gave other bytes; those that were there before stay")
	}
	if age := int(s.cfg.BuildMaxAge.Seconds()); body.NoCache {
		fresh = "no-store"
	} else if age > 0 {
		fresh = fmt.Sprintf("max-age=%d", age)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", fresh)
	h.Set("Etag", `"`+made.digest+`"`)
	return encode(struct {
		Artifact wireArtifact `json:"artifact"`
	}{artifact}), nil
}

// lookUpOrBuild looks for the binary in the store and builds it if need be. Unlike a request
// for a path it waits as long as it takes: k6 takes no redirect for an answer.
func (s *Service) lookUpOrBuild(ctx context.Context, w *response, req buildRequest) (builtBinary, error) {
	want, err := s.resolveBound(ctx, req.platform, req.list, req.major)
	if err != nil {
		return builtBinary{}, err
	}
	if want.bound && !req.nocache {
		entry, err := s.cfg.Store.Open(ctx, want.recipe.Key())
		if err == nil {
			w.outcome = "hit"
			s.metrics.hit()
			s.metrics.k6build.hits.Inc()
			return builtBinary{resolved: want, digest: entry.Digest}, entry.Close()
		}
		if !errors.Is(err, cache.ErrEvicted) && !errors.Is(err, cache.ErrNotFound) {
			return builtBinary{}, err
		}
	}
	artifact, err := s.ensure(ctx, want, builder.Job{Client: w.client, Rebuild: req.nocache}, w.joined)
	differs := errors.Is(err, builder.ErrDiffers)
	if differs {
		s.cfg.Logger.Error("a rebuild gave other bytes than those that are kept", "id", w.id, "path", want.canonical, "error", err)
	} else if err != nil {
		return builtBinary{}, err
	}
	w.outcome = "built"
	want.recipe, want.warnings = artifact.Recipe, artifact.Build.Warnings
	return builtBinary{resolved: want, digest: artifact.Digest, differs: differs}, nil
}

// versions returns the versions of a pinned list by name.
func versions(list k6x.List) map[string]string {
	m := make(map[string]string, len(list))
	for _, dep := range list {
		m[dep.Name] = dep.Constraint.Version()
	}
	return m
}

// encode returns v, which is of strings, as a line of JSON.
func encode(v any) []byte {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return body.Bytes()
}
