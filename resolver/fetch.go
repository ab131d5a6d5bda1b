package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	netrcfile "github.com/jdx/go-netrc"
	"golang.org/x/mod/module"

	"k6x"
)

// get reads one file of a module from a proxy, which may be a directory.
func (p *proxy) get(ctx context.Context, base *url.URL, modulePath, rest string, most int64) ([]byte, error) {
	escaped, err := module.EscapePath(modulePath)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	u := base.JoinPath(escaped, rest)
	if u.Scheme == "file" {
		return readFile(filePath(u), most)
	}
	ctx, cancel := context.WithTimeout(ctx, proxyTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("User-Agent", userAgent)
	if u.Scheme == "https" && u.User == nil {
		if login, password, ok := p.netrc.lookup(u); ok {
			req.SetBasicAuth(login, password)
		}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown(u), withoutURL(err))
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
	case status == http.StatusNotFound, status == http.StatusGone:
		return nil, fmt.Errorf("%s: %w", shown(u), errAbsent)
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%s: the module proxy answers %d", shown(u), status)
	case 400 <= status && status <= 499:
		return nil, fmt.Errorf("%s: %w", shown(u), &refusal{status})
	default:
		return nil, fmt.Errorf("%s: the module proxy answers %d", shown(u), status)
	}
	data, err := readAll(resp.Body, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown(u), err)
	}
	return data, nil
}

// filePath returns the file that a file URL names.
func filePath(u *url.URL) string {
	name := u.Path
	if runtime.GOOS == "windows" && len(name) > 2 && name[2] == ':' {
		name = name[1:]
	}
	return filepath.FromSlash(name)
}

func readFile(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, errAbsent)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(file, most)
}

// netrc holds credentials by host.
type netrc map[string][2]string

// readNetrc reads a netrc file; "" and a file that is not there hold none.
func readNetrc(name string) (n netrc, err error) {
	if name == "" {
		return nil, nil
	}
	data, err := readFile(name, 1<<20)
	if errors.Is(err, errAbsent) {
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
