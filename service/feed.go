package service

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/feeds"

	"k6x"
	"k6x/history"
)

const feedEntries = 100

// feed answers GET of /changes.atom: the newest entries of the history, or of those about one extension, for a feed reader.
func (s *Service) feed(w *response, r *http.Request) error {
	extension := r.URL.Query().Get("extension")
	feed := feeds.Feed{Title: "k6x builds", Link: &feeds.Link{Href: s.absolute(r, "/changes.atom"), Rel: "self"}, Author: &feeds.Author{Name: "k6x"}, Updated: time.Unix(0, 0).UTC()}
	if extension != "" {
		feed.Title += " with " + k6x.Clip(extension)
		feed.Link.Href += "?" + url.Values{"extension": {extension}}.Encode()
	}
	for i, n := range s.cfg.Builds.History.Newest(extension, feedEntries) {
		if i == 0 {
			feed.Updated = n.Time
		}
		feed.Add(s.feedItem(r, n))
	}
	text, err := feed.ToAtom()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(text))
	h := w.Header()
	h.Set("Content-Type", "application/atom+xml")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Etag", `"`+hex.EncodeToString(sum[:])+`"`)
	http.ServeContent(w, r, "", feed.Updated, bytes.NewReader([]byte(text)))
	return nil
}

func (s *Service) feedItem(r *http.Request, n history.Numbered) *feeds.Item {
	item := &feeds.Item{Updated: n.Time, Created: n.Time}
	if b := n.Result; b != nil {
		item.Id = "urn:uuid:" + b.ID
		item.Title = string(b.Outcome) + ": " + strings.TrimPrefix(b.Path, "/")
		item.Link = &feeds.Link{Href: s.absolute(r, "/builds/"+url.PathEscape(b.ID))}
		item.Description = strings.ReplaceAll(html.EscapeString(k6x.Printable(strings.TrimSpace(b.Error+"\n"+b.Hint))), "\n", "<br>\n")
	} else if n.Type == history.Retry {
		item.Title = "made again: build " + n.Build
		item.Link = &feeds.Link{Href: s.absolute(r, "/builds/"+url.PathEscape(n.Retry))}
		item.Id = item.Link.Href + "#retry" // the result of that build is an entry of its own
	} else if n.Type == history.Quarantine {
		item.Title = "the worker " + n.Worker + " is quarantined: " + n.Reason
		item.Link = &feeds.Link{Href: s.absolute(r, "/status")}
		item.Id = "urn:k6x:entry:" + n.ID
		if n.Unverified != nil {
			item.Description = "It built, and no other machine has made by itself:<br>\n" + strings.ReplaceAll(html.EscapeString(strings.Join(n.Unverified, "\n")), "\n", "<br>\n")
		}
	} else {
		item.Title = "new version: " + n.Name + " " + n.Version
		item.Link = &feeds.Link{Href: s.absolute(r, "/builds?"+url.Values{"extension": {n.Name}, "version": {n.Version}}.Encode())}
		item.Id = item.Link.Href
	}
	item.Title = k6x.ClipTo(item.Title, 500)
	return item
}
