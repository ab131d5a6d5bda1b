package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k6x/internal/disk"
	"k6x/internal/web"
)

// isRemote reports whether the id of a module is a URL, which k6 will fetch, too.
func isRemote(id string) bool { return strings.HasPrefix(id, "https://") }

// resolveRemote returns the id of what a module of a URL imports; "" if that is left to k6.
func resolveRemote(importer, specifier string) string {
	base, err := url.Parse(importer)
	if _, kind := classify(specifier); err != nil || kind != relative && kind != fetched {
		return ""
	}
	u, err := base.Parse(specifier)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return ""
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}

// showURL returns a URL without what may be secret in it.
func showURL(id string) string {
	u, err := url.Parse(id)
	if err != nil {
		return "a URL that cannot be read"
	}
	return web.Shown(u)
}

// remoteScript reads the script or archive at a URL.
func (a *analysis) remoteScript(ctx context.Context, id string) error {
	a.deadline = time.Now().Add(a.limits.duration)
	text, err := a.fetch(ctx, id, a.limits.stdin)
	if err != nil {
		a.unfetched(module{id: id}, err)
		return ctx.Err()
	}
	return a.main(ctx, id, bytes.NewReader(text), int64(len(text)))
}

// fetch returns the module at a URL as k6 will get it: asked for with a parameter of k6's own or, if the server
// does not have that, without.
func (a *analysis) fetch(ctx context.Context, id string, limit int64) (text []byte, err error) {
	if a.http == nil {
		return nil, errors.New("it is k6 that fetches it")
	}
	u, err := url.Parse(id)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	ctx, stop := context.WithDeadline(ctx, a.deadline)
	defer stop()
	plain := *u
	u.RawQuery = strings.TrimPrefix(u.RawQuery+"&_k6=1", "&")
	for _, u := range []*url.URL{u, &plain} {
		var refused bool
		if text, refused, err = a.get(ctx, u, limit); !refused {
			break
		}
	}
	return text, err
}

// get makes one request. It was refused if there is an answer, but no module.
func (a *analysis) get(ctx context.Context, u *url.URL, limit int64) (text []byte, refused bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, false, web.WithoutURL(err)
	}
	req.Header.Set("User-Agent", web.UserAgent)
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, false, web.WithoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, true, fmt.Errorf("%s answers %s", u.Host, resp.Status)
	}
	text, err = disk.ReadAll(resp.Body, limit)
	return text, false, err
}

// unfetched says that a module of a URL was not read, and what helps if an extension is missing therefore.
func (a *analysis) unfetched(m module, err error) {
	why := err.Error()
	if large, ok := tooLarge(err); ok {
		why = large
	}
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("what is fetched took longer than %s", a.limits.duration)
	}
	from := ""
	if m.from != "" {
		from = " (imported by " + m.from + ")"
	}
	if len(a.report.Unread) < maxNotes {
		a.report.Unread = append(a.report.Unread, fmt.Sprintf(
			"%s%s was not looked into: %s. If it needs an extension, name that, as in --with k6/x/redis", showURL(m.id), from, why))
	}
}
