package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"k6x/cache"
)

// signer is a store that others can download from.
type signer interface {
	// SignedURL returns a URL that answers GET with the bytes under key for a while. It is
	// an error if they are not there, and an errors.ErrUnsupported if no URL can be signed.
	SignedURL(ctx context.Context, key string) (string, error)
}

// redirectToStore redirects the download of a binary to the store, if that is wanted and
// works, and reports whether it answered. It does not open the binary.
func (s *Service) redirectToStore(ctx context.Context, w *response, r *http.Request, key string) bool {
	if s.signer == nil {
		return false
	}
	if s.sendUnchanged(ctx, w, r, key) {
		return true
	}
	if r.Method != http.MethodGet || r.Header.Get("If-Match") != "" {
		return false
	}
	target, err := s.signer.SignedURL(ctx, key)
	if errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrEvicted) {
		return false
	}
	if errors.Is(err, errors.ErrUnsupported) {
		s.unsigned.Do(func() { s.cfg.Logger.Warn("the store cannot sign URLs; downloads are not redirected", "error", err) })
		return false
	}
	if err != nil {
		s.cfg.Logger.Warn("the store did not sign a URL; the download goes through this service", "id", w.id, "key", key, "error", err)
		return false
	}
	w.outcome = "redirected"
	h := w.Header()
	h.Set("Location", target)
	h.Set("Cache-Control", "no-store") // the signature has a short life
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusTemporaryRedirect)
	fmt.Fprintln(w, "The binary is elsewhere for now.")
	return true
}

// hasTag reports whether one of the values of If-None-Match matches tag.
func hasTag(values []string, tag string) bool {
	for item := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if item = strings.TrimSpace(item); item == "*" || strings.TrimPrefix(item, "W/") == tag {
			return true
		}
	}
	return false
}
