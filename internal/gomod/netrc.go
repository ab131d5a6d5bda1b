package gomod

import (
	"errors"
	"net/url"
	"strings"

	netrcfile "github.com/jdx/go-netrc"

	"k6x"
)

// netrc holds credentials by host.
type netrc map[string][2]string

// readNetrc reads a netrc file; "" and a file that is not there hold none.
func readNetrc(name string) (n netrc, err error) {
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
	defer func() { // the parser reads past the end of a file that ends after a keyword
		if recover() != nil {
			n, err = nil, k6x.Errorf(k6x.Invalid, "the netrc file %s is malformed", name)
		}
	}()
	// A comment would shift the words that the parser counts.
	var lines []string
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			lines = append(lines, line)
		}
	}
	parsed, err := netrcfile.ParseString(strings.Join(lines, ""))
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the netrc file %s is malformed", name)
	}
	n = netrc{}
	for _, m := range parsed.Machines() {
		if _, again := n[m.Name]; !again && !m.IsDefault {
			n[m.Name] = [2]string{m.Get("login"), m.Get("password")}
		}
	}
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
