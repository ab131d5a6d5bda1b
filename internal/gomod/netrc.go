package gomod

import (
	"cmp"
	"errors"
	"net/url"
	"strings"

	"k6x"
)

// netrc holds credentials by host.
type netrc map[string][2]string

// readNetrc reads a netrc file; "" and a file that is not there hold none.
func readNetrc(name string) (netrc, error) {
	if name == "" {
		return nil, nil
	}
	data, err := ReadFile(name, 1<<20)
	if errors.Is(err, ErrAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the netrc file cannot be read: %w", err)
	}
	var words []string
	for line := range strings.Lines(string(data)) {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "#") { // a comment
				break
			}
			words = append(words, word)
		}
	}
	n := netrc{}
	host := "" // "": what follows is of none, or of one that was there before
	for ; len(words) > 0; words = words[1:] {
		if words[0] == "default" {
			host = ""
			continue
		}
		key := words[0]
		if words = words[1:]; len(words) == 0 {
			return nil, k6x.Errorf(k6x.Invalid, "the netrc file %s is malformed", name)
		}
		credentials := n[host]
		switch key {
		case "machine":
			host = words[0]
			if _, again := n[host]; again {
				host = ""
			}
			credentials = n[host]
		case "login":
			credentials[0] = cmp.Or(credentials[0], words[0])
		case "password":
			credentials[1] = cmp.Or(credentials[1], words[0])
		}
		n[host] = credentials
	}
	delete(n, "")
	return n, nil
}

func (n netrc) lookup(u *url.URL) (login, password string, ok bool) {
	for _, host := range []string{u.Host, u.Hostname()} {
		if c, ok := n[host]; ok {
			return c[0], c[1], true
		}
	}
	return "", "", false
}
