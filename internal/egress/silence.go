package egress

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"k6x"
)

// verdict is what is known of a host.
type verdict int

const (
	refused verdict = iota + 1 // it is at no public address
	suspect                    // it was silent, or its client had no more to ask: the client's output tells
	silent                     // it did not answer, and is left alone
)

type record struct {
	verdict verdict
	until   time.Time
}

// note remembers a verdict on a host. Those on trusted ones are not remembered.
func (p *Proxy) note(t target, v verdict) {
	if t.trusted {
		return
	}
	last := p.alone
	if v == suspect {
		if p.verdictOn(t.host) == silent {
			return
		}
		last = time.Minute // by then the client has printed what it has to say
	}
	p.hosts.Add(t.host, record{v, p.now().Add(last)})
	if v != suspect {
		p.log.Warn("a host is not fetched from", "host", t.host, "silent", v == silent)
	}
}

func (p *Proxy) verdictOn(host string) verdict {
	if r, ok := p.hosts.Peek(host); ok && p.now().Before(r.until) {
		return r.verdict
	}
	return 0
}

// admit returns an error unless t may be tried: of kind Unavailable for a host that is left alone, Forbidden for one that
// is not on the public internet by its name.
func (p *Proxy) admit(t target) error {
	switch {
	case p.verdictOn(t.host) == silent && !t.trusted:
		return p.silentError(t)
	case !t.anywhere && local(t.host):
		p.note(t, refused)
		return privateError(t.host)
	}
	return nil
}

func privateError(host string) *k6x.Error {
	return k6x.Errorf(k6x.Forbidden, "%s is not at a public address; nothing is fetched from there unless the operator names it with --direct", host)
}

func (p *Proxy) silentError(t target) *k6x.Error {
	r, ok := p.hosts.Peek(t.host)
	if !ok {
		return k6x.Errorf(k6x.Unavailable, "%s did not answer", t.host)
	}
	return k6x.Errorf(k6x.Unavailable, "%s did not answer and is left alone for ten minutes", t.host).WithRetry(max(0, r.until.Sub(p.now())))
}

// Check returns an error unless a module may be fetched from its own host, as far as that is known without a
// request. Kinds are those of [Proxy.Explain].
func (p *Proxy) Check(modulePath string) error {
	if p == nil {
		return nil
	}
	host, _, _ := strings.Cut(modulePath, "/")
	t, err := p.policy.target(host + ":443")
	if err != nil {
		return err
	}
	return p.admit(t)
}

var hostInText = regexp.MustCompile(`[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+|\[[0-9A-Fa-f:.]+\]|localhost`)

// gitRefused matches how git says that a proxy has answered 403.
var gitRefused = regexp.MustCompile(`CONNECT tunnel failed, response 403|HTTP code 403 from proxy after CONNECT`)

// Explain returns the error for what the go command or git printed when it failed to fetch, if it was for a host that is
// left alone (of kind Unavailable) or that is not at a public address (Forbidden); else nil.
func (p *Proxy) Explain(output string) *k6x.Error {
	if p == nil {
		return nil
	}
	for _, word := range hostInText.FindAllString(output, -1) {
		t := target{host: normal(strings.Trim(word, "[]"))}
		switch p.verdictOn(t.host) {
		case suspect:
			p.note(t, silent)
			return p.silentError(t)
		case silent:
			return p.silentError(t)
		case refused:
			return privateError(t.host)
		}
	}
	if gitRefused.MatchString(output) { // it names where it began, and not where it was sent from there
		for _, host := range slices.Backward(p.hosts.Keys()) {
			if p.verdictOn(host) == refused {
				return privateError(host)
			}
		}
	}
	return nil
}
