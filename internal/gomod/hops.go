package gomod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/web"
)

// ErrAbsent: the server or the go command says that there is no such module, or no such version of it.
var ErrAbsent = errors.New("not there")

// Refusal is a definite answer that is neither yes nor "not there".
type Refusal struct {
	Status int // of HTTP; 0: GOPROXY=off
}

func (e *Refusal) Error() string {
	if e.Status == 0 {
		return "GOPROXY is off"
	}
	return fmt.Sprintf("the module proxy answers %d", e.Status)
}

// ErrDirect: the go command failed, for whatever reason.
var ErrDirect = errors.New("direct")

// Definite reports whether asking again soon would bring the same answer.
func Definite(err error) bool {
	_, refused := errors.AsType[*Refusal](err)
	return refused || errors.Is(err, ErrAbsent)
}

// hop is one element of GOPROXY.
type hop struct {
	origin        // nil for off
	anyError bool // whether any error leads on to the next hop, not only ErrAbsent
}

// parseHops reads GOPROXY.
func (p *Proxy) parseHops(list string) (hops []hop, err error) {
	list = cmp.Or(list, "https://proxy.golang.org") // what is fetched directly, the operator says
	for list != "" {
		element, anyError := list, false
		if i := strings.IndexAny(list, ",|"); i >= 0 {
			element, anyError, list = list[:i], list[i] == '|', list[i+1:]
		} else {
			list = ""
		}
		switch element = strings.TrimSpace(element); element {
		case "":
			continue
		case "off":
			return append(hops, hop{}), nil
		case "direct":
			return append(hops, hop{origin: p.direct}), nil
		}
		if strings.ContainsAny(element, ".:/") && !strings.Contains(element, ":/") && !filepath.IsAbs(element) && !path.IsAbs(element) {
			element = "https://" + element
		}
		u, err := url.Parse(element)
		if err != nil {
			return nil, k6x.Errorf(k6x.Invalid, "GOPROXY has an element that is not a URL").WithCause(web.WithoutURL(err))
		}
		switch u.Scheme {
		case "http", "https", "file":
		default:
			return nil, k6x.Errorf(k6x.Invalid, "GOPROXY has an element that is neither an http, https or file URL nor direct or off")
		}
		hops = append(hops, hop{&mirror{p, u}, anyError})
	}
	if len(hops) == 0 {
		return nil, k6x.Errorf(k6x.Invalid, "GOPROXY names no proxy")
	}
	return hops, nil
}

// origin is where modules are fetched from.
type origin interface {
	versions(ctx context.Context, modulePath string) ([]string, error)
	goMod(ctx context.Context, modulePath, version string) ([]byte, error)
	commit(ctx context.Context, modulePath, hash string) (string, error)
}

// try asks one hop after the other.
func try[T any](ctx context.Context, p *Proxy, modulePath string, ask func(origin) (T, error)) (T, error) {
	hops := p.hops
	if p.noProxy != "none" && module.MatchPrefixPatterns(p.noProxy, modulePath) {
		hops = []hop{{origin: p.direct}}
	}
	var none T
	var telling error // the error that says most
	for _, h := range hops {
		value, err := none, error(&Refusal{})
		if h.origin != nil {
			value, err = ask(h.origin)
		}
		if err == nil {
			return value, nil
		}
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		absent := errors.Is(err, ErrAbsent)
		// A failure says more than "not there" from a later proxy. But the go command cannot
		// tell "not there" from a failure, unless we know why it failed: if a proxy could, that counts.
		_, explained := errors.AsType[*k6x.Error](err)
		_, mirrored := h.origin.(*mirror)
		if h.origin != nil && !mirrored {
			err = fmt.Errorf("%w: %w", ErrDirect, err)
		}
		if telling == nil || !absent && (mirrored || explained || !errors.Is(telling, ErrAbsent)) {
			telling = err
		}
		if !absent && !h.anyError {
			break
		}
	}
	return none, telling
}
