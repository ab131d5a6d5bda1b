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
	n := netrc{}
	host, key, macro := "", "", false // host is "" where what follows is of none, or of one that was there before
	for line := range strings.Lines(string(data)) {
		if macro { // up to an empty line
			macro = strings.TrimSpace(line) != ""
			continue
		}
		for _, word := range strings.Fields(line) {
			if key == "" && (macro || strings.HasPrefix(word, "#")) { // the name of the macro; a comment
				break
			}
			credentials := n[host]
			switch key {
			case "":
				switch word {
				case "machine", "login", "password", "account":
					key = word
				case "default":
					host = ""
				case "macdef":
					macro = true
				}
				continue
			case "machine":
				host = word
				if _, again := n[host]; again {
					host = ""
				}
				credentials = n[host]
			case "login":
				credentials[0] = cmp.Or(credentials[0], word)
			case "password":
				credentials[1] = cmp.Or(credentials[1], word)
			}
			n[host], key = credentials, ""
		}
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
