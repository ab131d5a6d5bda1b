package service

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/internal/difference"
)

const (
	yearLong = "public, max-age=31536000, immutable"
	hourLong = "public, max-age=3600" // for bytes that are right for ever, where others that are fewer come soon
)

// binary answers GET and HEAD of /{goos}/{goarch}/{list} (docs/contracts.md, section 1).
func (s *Service) binary(w *response, r *http.Request) error {
	if strings.Count(strings.TrimLeft(r.URL.Path, "/"), "/") < 2 {
		return notFound(w, r)
	}
	asked, err := s.parse(r.URL.Path)
	if err != nil {
		return err
	}
	platform, list, canonical, pinned := asked.platform, asked.list, asked.canonical, asked.pinned
	if !s.builds(platform) {
		return k6x.UnknownPlatform(platform.String(), s.cfg.Platforms...)
	}
	if pinned && r.URL.EscapedPath() != canonical {
		w.outcome = "moved"
		w.Header().Set("Cache-Control", yearLong)
		return s.redirect(w, http.StatusMovedPermanently, canonical)
	}
	if err := s.cfg.Resolver.Permit(list); err != nil {
		return err
	}
	if key := asked.sent.Load(); key != nil && s.signer == nil { // in memory all is decided: no clock has to run
		if answered, err := s.sendDescribed(r.Context(), w, r, *key); answered {
			return err
		}
	}
	return s.inRounds(w, r, canonical, func(ctx context.Context) error {
		var bound string // the key that the path is bound to
		if pinned {
			var err error
			bound, err = s.cfg.Store.Lookup(ctx, canonical)
			if err == nil {
				if last := asked.sent.Load(); last == nil || *last != bound {
					asked.sent.Store(&bound)
				}
				err = s.sendStored(ctx, w, r, bound)
			}
			if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
				return err
			}
		}
		return s.untilDrained(ctx, func(ctx context.Context) error { return s.sendBuilt(ctx, w, r, platform, list, bound) })
	})
}

// named is what a path of a binary says.
type named struct {
	platform  k6x.Platform
	list      k6x.List
	canonical string // path of the list; if it is pinned, the canonical one
	pinned    bool
	sent      *atomic.Pointer[string] // the key that the path was bound to when it was last asked for; nil: it was not
}

// Bounds of the paths that are kept in memory as they were parsed, which is a third of the time of an answer without a body.
const (
	keptPaths = 4096
	maxKept   = 1 << 10 // bytes of one
)

// parse is [k6x.ParsePath] with a memory.
func (s *Service) parse(path string) (named, error) {
	if known, ok := s.paths.Get(path); ok {
		return known, nil
	}
	platform, list, err := k6x.ParsePath(path)
	if err != nil {
		return named{}, err
	}
	n := named{platform, list, list.Path(platform), list.Pinned(), new(atomic.Pointer[string])}
	if len(path) <= maxKept {
		s.paths.Add(path, n)
	}
	return n, nil
}

// sendBuilt resolves a list, and if that is what the path of r names already, builds the binary and sends it; else it redirects. Bound is the key
// that the path is bound to, if it is.
func (s *Service) sendBuilt(ctx context.Context, w *response, r *http.Request, platform k6x.Platform, list k6x.List, bound string) error {
	if bound == "" && !s.cfg.Resolver.Registered(list) { // it would be looked up wherever the client says
		if err := s.cfg.Tokens.Check(r); err != nil {
			return err
		}
	}
	path, err := s.resolve(ctx, platform, list, anyMajor, bound)
	if err != nil {
		return err
	}
	if path.canonical != list.Path(platform) {
		w.outcome = "resolved"
		w.Header().Set("Cache-Control", s.latestCacheControl())
		target := path.canonical
		if round := rounds(r); round > 0 { // they count until the client has its binary
			w.Header().Set("Cache-Control", "no-cache, no-store")
			target = withRound(target, round)
		}
		return s.redirect(w, http.StatusTemporaryRedirect, target)
	}
	if !path.bound { // building what was built before is open to all, as its download is
		if err := s.cfg.Tokens.Check(r); err != nil {
			return err
		}
	}
	entry, err := s.build(ctx, path, builder.Job{Client: w.client}, w.joined)
	if err != nil {
		return err
	}
	w.outcome = "built"
	if s.redirectToStore(ctx, w, r, entry.Key) {
		return entry.Close()
	}
	return s.send(ctx, w, r, entry)
}

func notFound(_ *response, r *http.Request) error {
	return k6x.Errorf(k6x.NotFound, "there is nothing at %s", k6x.Clip(r.URL.EscapedPath())).
		WithHint("A binary is at /goos/goarch/list, for example /linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6; the API of k6build is at /build and /resolve.")
}

// lost returns an error unless a path is that of a binary.
func (s *Service) lost(r *http.Request) error {
	if platform, _, err := k6x.ParsePath(r.URL.Path); err != nil || !s.builds(platform) {
		return notFound(nil, r)
	}
	return nil
}

// sendStored sends the binary under key; cache.ErrNotFound or
// cache.ErrEvicted if there is nothing to send.
func (s *Service) sendStored(ctx context.Context, w *response, r *http.Request, key string) error {
	if s.redirectToStore(ctx, w, r, key) { // before Open, which may have to fetch the bytes
		s.cfg.Metrics.hit()
		return nil
	}
	if answered, err := s.sendDescribed(ctx, w, r, key); answered {
		return err
	}
	entry, err := s.open(ctx, key)
	if errors.Is(err, cache.ErrEvicted) && s.sendUnchanged(ctx, w, r, key) {
		return nil
	}
	if err != nil {
		return err
	}
	w.outcome = "hit"
	s.cfg.Metrics.hit()
	return s.send(ctx, w, r, entry)
}

// sendDescribed answers from memory a request for the binary under key that needs no byte of it, and reports whether it did.
func (s *Service) sendDescribed(ctx context.Context, w *response, r *http.Request, key string) (bool, error) {
	entry := describe(ctx, s.cfg.Store, key, r.Method == http.MethodHead || r.Header.Get("If-None-Match") != "")
	if entry == nil {
		return false, nil
	}
	w.outcome = "hit"
	err := s.send(ctx, w, r, entry)
	if errors.Is(err, errBodyNeeded) {
		return false, nil
	}
	s.cfg.Metrics.hit()
	return true, err
}

// sendUnchanged answers a client that has the bytes under key, and reports whether it did.
// They never change, so they need not be here.
func (s *Service) sendUnchanged(ctx context.Context, w *response, r *http.Request, key string) bool {
	if r.Header.Get("If-None-Match") == "" {
		return false
	}
	artifact, err := s.cfg.Store.Record(ctx, key)
	return err == nil && s.unchanged(w, r, artifact.Digest, s.lifetime(r, key))
}

// lifetime is the Cache-Control of a binary as it is. A cache that asked for a compressed form before there was one has to ask again.
func (s *Service) lifetime(r *http.Request, key string) string {
	if s.variants.likely(r, key) {
		return hourLong
	}
	return yearLong
}

// unchanged answers a client that has the bytes of that digest, and reports whether it did.
func (s *Service) unchanged(w *response, r *http.Request, digest, lifetime string) bool {
	tag := `"` + digest + `"`
	if r.Header.Get("If-Match") != "" || r.Header.Get("If-Unmodified-Since") != "" || !hasTag(r.Header.Values("If-None-Match"), tag) {
		return false
	}
	h := w.Header()
	s.vary(h)
	h.Set("Cache-Control", lifetime)
	h.Set("Etag", tag)
	w.WriteHeader(http.StatusNotModified)
	return true
}

// errBodyNeeded: nothing was answered yet, as that takes bytes which an entry without Body does not have.
var errBodyNeeded = errors.New("the binary has to be opened")

// send sends an entry, compressed if the client likes that and it was done already, and closes
// it. Headers that make an answer cacheable are set here only, where the bytes are at hand.
func (s *Service) send(ctx context.Context, w *response, r *http.Request, entry *cache.Entry) error {
	defer entry.Close()
	if !s.digests.Contains(entry.Digest) {
		s.digests.Add(entry.Digest, entry.Key)
	}
	body, coding, lifetime := entry, "", yearLong
	if s.variants != nil {
		if compressed, name := s.variants.choose(ctx, r, entry); compressed != nil {
			defer compressed.Close()
			body, coding = compressed, name
		} else {
			lifetime = s.lifetime(r, entry.Key)
		}
	}
	if entry.Provisional {
		lifetime = "no-store"
	}
	if s.unchanged(w, r, body.Digest, lifetime) {
		return nil
	}
	if body.Body == nil {
		if r.Method != http.MethodHead {
			return errBodyNeeded
		}
		body.Body = io.NewSectionReader(nil, 0, body.Size) // its size is asked for, no byte
	}
	digest, err := reprDigest(body)
	if err != nil {
		return err
	}
	if r.Method == http.MethodGet {
		end, err := s.held.begin(w.client, body.Key, body.Size)
		if err != nil {
			return err
		}
		defer end()
		if body.Await != nil {
			if err := body.Await(ctx); err != nil {
				return err
			}
		}
	}
	h := w.Header()
	h.Del(buildHeader)
	s.vary(h)
	if coding != "" {
		h.Set("Content-Encoding", coding)
		h.Set("Content-Length", strconv.FormatInt(body.Size, 10)) // ServeContent leaves it out for a coding
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+entry.Platform.Executable()+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	for _, warning := range entry.Warnings[:min(len(entry.Warnings), maxWarnings)] {
		quoted := strconv.QuoteToASCII(k6x.ClipTo(warning, maxWarning)) // a header has no line ends, and ASCII alone
		h.Add("K6x-Warning", quoted[1:len(quoted)-1])
	}
	h.Set("Cache-Control", lifetime)
	h.Set("Etag", `"`+body.Digest+`"`)
	h.Set("Repr-Digest", digest)
	if coding != "" { // by which a client checks what it has decoded
		if digest, err = reprDigest(entry); err != nil {
			return err
		}
		h.Set("Unencoded-Digest", digest)
	}
	if s.variants.differ() {
		h.Set("Use-As-Dictionary", `match="`+s.location("/"+entry.Platform.String()+"/*")+`"`)
	}
	if body.Verify != nil && r.Method == http.MethodGet {
		w.verify = func() error { return body.Verify(r.Context()) }
	}
	http.ServeContent(w, r, "", body.Stored, body.Body)
	return nil
}

// Of the warnings of a build headers have the first ones, and not all of long ones: proxies bound headers.
const (
	maxWarnings = 5
	maxWarning  = 400 // bytes
)

// vary tells caches what an answer with a binary depends on.
func (s *Service) vary(h http.Header) {
	switch {
	case s.variants.differ():
		h["Vary"] = varyDifference
	case s.variants != nil:
		h["Vary"] = varyCoding
	}
}

// Values of headers that all answers share.
var (
	varyDifference = []string{"Accept-Encoding, " + difference.Header}
	varyCoding     = []string{"Accept-Encoding"}
)

// reprDigest is the digest of a representation, which has its coding (RFC 9530 section 3).
func reprDigest(entry *cache.Entry) (string, error) {
	digest, err := hex.DecodeString(entry.Digest)
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", entry.Key, err)
	}
	return "sha-256=:" + base64.StdEncoding.EncodeToString(digest) + ":", nil
}

// Compress makes compressed forms of what clients ask for, until ctx ends; see [Config.Compress].
func (s *Service) Compress(ctx context.Context) {
	if s.variants != nil {
		s.variants.run(ctx)
	}
}

func (s *Service) redirect(w *response, status int, path string) error {
	w.Header().Set("Location", s.location(path))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "The binary is at %s\n", s.location(path))
	return nil
}

func (s *Service) latestCacheControl() string {
	if age := s.cfg.LatestMaxAge; age >= time.Second {
		return fmt.Sprintf("public, max-age=%d", int(age.Seconds()))
	}
	return "no-cache, no-store"
}
