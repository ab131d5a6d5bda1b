package service

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"

	"k6x"
	"k6x/cache/objects"
)

// ObjectsConfig says what an [Objects] is made of. Store is needed; the zero value of
// everything else works.
type ObjectsConfig struct {
	Store       *objects.Store
	DownloadURL *url.URL       // what clients see in front of /store; nil: as the request says
	Tokens      *Tokens        // needed to store; nil: none is needed
	Trusted     []netip.Prefix // peers whose X-Forwarded-For and X-Forwarded-Proto are believed
	Metrics     *Metrics       // nil: a new one
	Logger      *slog.Logger   // nil: discard
	Stall       time.Duration  // how long a client may take for a few megabytes, either way; 0: 5 minutes
}

// Objects is a server of blobs with ids that their owners choose (docs/contracts.md, section 5). Each
// is stored once and never changes.
//
// A second upload of an id is answered with the error "duplicate object" and the object that is there, with status 200: k6build's
// own client reads no other answer, and goes on with that object.
type Objects struct {
	front
	cfg    ObjectsConfig
	router *chi.Mux
}

// NewObjects returns a server of objects.
func NewObjects(cfg ObjectsConfig) *Objects {
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	o := &Objects{
		front: front{metrics: cfg.Metrics, logger: cfg.Logger, trusted: cfg.Trusted, stall: cmp.Or(cfg.Stall, 5*time.Minute)},
		cfg:   cfg,
	}
	o.router = o.front.router([]route{
		{http.MethodGet, "/alive", o.alive, o.fail},
		{http.MethodGet, "/store/{id}", o.describe, o.fail},
		{http.MethodPost, "/store/{id}", sameOrigin(o.put), o.fail},
		{http.MethodPut, "/store/{id}", sameOrigin(o.put), o.fail},
		{http.MethodGet, "/store/{id}/download", o.download, o.fail},
		{http.MethodGet, metricsPath, cfg.Metrics.serve, o.fail},
	})
	o.router.NotFound(o.adapt(route{http.MethodGet, "", nothing, o.fail}))
	return o
}

// ServeHTTP answers one request.
func (o *Objects) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.router.ServeHTTP(w, r) }

func (o *Objects) alive(w *response, _ *http.Request) error {
	w.outcome = "status"
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

func nothing(_ *response, r *http.Request) error {
	return k6x.Errorf(k6x.NotFound, "there is nothing at %s", k6x.Clip(r.URL.EscapedPath())).
		WithHint("An object is at /store/ID, its bytes are at /store/ID/download.")
}

// put answers POST and PUT of /store/{id}.
func (o *Objects) put(w *response, r *http.Request) error {
	if err := o.cfg.Tokens.Check(r); err != nil {
		return err
	}
	id := chi.URLParam(r, "id")
	limit := o.cfg.Store.MaxObject()
	tooLarge := k6x.Errorf(k6x.Invalid, "the object %s is larger than %d bytes", k6x.Clip(id), limit).WithCause(objects.ErrTooLarge)
	if r.ContentLength > limit {
		return tooLarge
	}
	body := &upload{request: r, control: http.NewResponseController(w), stall: o.stall}
	object, err := o.cfg.Store.Put(r.Context(), id, body)
	switch {
	case errors.Is(err, objects.ErrDuplicate):
		if r.Header.Get("Expect") == "" { // a client that sends on does not see an answer before it has sent all
			_, _ = io.Copy(io.Discard, io.LimitReader(body, limit))
		}
		return &duplicate{object, k6x.Errorf(k6x.Conflict, "there is an object %s already, and it stays", id).WithCause(err)}
	case errors.Is(err, objects.ErrTooLarge):
		return tooLarge
	case err != nil:
		return err
	}
	w.outcome = "stored"
	o.answer(w, http.StatusOK, objectAnswer{Object: o.wire(r, object)})
	return nil
}

// describe answers GET of /store/{id}.
func (o *Objects) describe(w *response, r *http.Request) error {
	id := chi.URLParam(r, "id")
	object, err := o.cfg.Store.Get(r.Context(), id)
	if err != nil {
		return noObject(id, err)
	}
	w.outcome = "described"
	o.answer(w, http.StatusOK, objectAnswer{Object: o.wire(r, object)})
	return nil
}

// download answers GET of /store/{id}/download with the bytes.
func (o *Objects) download(w *response, r *http.Request) error {
	id := chi.URLParam(r, "id")
	body, object, err := o.cfg.Store.Open(r.Context(), id)
	if err != nil {
		return noObject(id, err)
	}
	defer body.Close()
	digest, err := hex.DecodeString(object.Checksum)
	if err != nil {
		return fmt.Errorf("checksum of %s: %w", id, err)
	}
	w.outcome = "hit"
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+object.ID+`"`) // an id has no quotes
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", yearLong)
	h.Set("Etag", `"`+object.Checksum+`"`)
	h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest)+":")
	if verify := o.cfg.Store.Verify(object); verify != nil && r.Method == http.MethodGet {
		w.verify = func() error { return verify(r.Context()) }
	}
	http.ServeContent(w, r, "", object.Stored, body)
	return nil
}

func noObject(id string, err error) error {
	if !errors.Is(err, objects.ErrNotFound) {
		return err
	}
	return k6x.Errorf(k6x.NotFound, "there is no object %s", k6x.Clip(id)).WithCause(err)
}

// link returns the URL of an object's bytes.
func (o *Objects) link(r *http.Request, id string) string {
	base := o.cfg.DownloadURL
	if base == nil {
		base = o.origin(r)
	}
	return base.JoinPath("store", id, "download").String()
}
