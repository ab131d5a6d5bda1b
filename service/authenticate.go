package service

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"k6x"
)

// Bounds of a file of tokens.
const (
	maxTokenFile = 1 << 20 // bytes
	maxToken     = 4096    // bytes
	tokensAge    = time.Second
)

// Tokens are the tokens that allow building and storing. Nil Tokens allow everybody; then
// what a client sends as its token is not looked at. All methods may be called at once.
type Tokens struct {
	file string
	now  func() time.Time

	mu      sync.Mutex // guards what follows
	checked time.Time  // when the file was last looked at
	info    os.FileInfo
	hashes  [][sha256.Size]byte
	err     error // why the file cannot be used now
}

// LoadTokens reads a file with one token in each line; blank lines, and those that start
// with #, are passed over. Only hashes stay in memory. The file is read again when it has
// changed, so that a token can be taken back. The error is of kind [k6x.Invalid].
func LoadTokens(file string) (*Tokens, error) {
	t := &Tokens{file: file, now: time.Now}
	t.refresh()
	if t.err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the token file cannot be used: %w", t.err).
			WithHint("It has one token in each line; lines that start with # are comments.")
	}
	return t, nil
}

// Check returns nil if r bears one of the tokens, as "Authorization: Bearer TOKEN" or as
// the password of Basic. Else the error is of kind [k6x.Unauthorized], or
// [k6x.Unavailable] if the file cannot be read any more: old tokens let no client in.
func (t *Tokens) Check(r *http.Request) error {
	if t == nil {
		return nil
	}
	hashes, err := t.current()
	if err != nil {
		return k6x.Errorf(k6x.Unavailable, "this service cannot check tokens at the moment").WithCause(err)
	}
	token := bearer(r.Header.Get("Authorization"))
	if token == "" {
		return k6x.Errorf(k6x.Unauthorized, "this service builds for those who have a token").
			WithHint("Send it in a header, Authorization: Bearer TOKEN.")
	}
	sum := sha256.Sum256([]byte(token))
	known := 0
	for i := range hashes {
		known |= subtle.ConstantTimeCompare(sum[:], hashes[i][:])
	}
	if known == 0 {
		return k6x.Errorf(k6x.Unauthorized, "this service does not know the token").
			WithHint("It may be mistyped, or taken back.")
	}
	return nil
}

// Reload reads the file now, whether it seems to have changed or not.
func (t *Tokens) Reload() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.info = nil
	t.refresh()
	return t.err
}

// bearer returns the token of an Authorization header, "" if it has none.
func bearer(header string) string {
	scheme, rest, _ := strings.Cut(header, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case len(rest) > 2*maxToken:
		return ""
	case strings.EqualFold(scheme, "Bearer"):
		return rest
	case strings.EqualFold(scheme, "Basic"):
		pair, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return ""
		}
		_, password, _ := bytes.Cut(pair, []byte(":"))
		return string(password)
	}
	return ""
}

// current returns the hashes of the tokens that are good now.
func (t *Tokens) current() ([][sha256.Size]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); now.Sub(t.checked) >= tokensAge || now.Before(t.checked) {
		t.refresh()
	}
	return t.hashes, t.err
}

// refresh reads the file if it has changed. The caller holds mu, or is alone.
func (t *Tokens) refresh() {
	t.checked = t.now()
	info, err := os.Stat(t.file)
	if err == nil && t.err == nil && t.info != nil && os.SameFile(info, t.info) &&
		info.ModTime().Equal(t.info.ModTime()) && info.Size() == t.info.Size() {
		return
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", t.file) // opening a pipe would wait
	}
	var hashes [][sha256.Size]byte
	if err == nil {
		hashes, err = readTokens(t.file)
	}
	t.info, t.hashes, t.err = info, hashes, err
}

func readTokens(name string) ([][sha256.Size]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxTokenFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxTokenFile)
	}
	var hashes [][sha256.Size]byte
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		token := bytes.TrimSpace(lines.Bytes())
		if len(token) == 0 || token[0] == '#' {
			continue
		}
		if len(token) > maxToken || bytes.ContainsAny(token, " \t") {
			return nil, fmt.Errorf("%s has a line that is no token", name)
		}
		hashes = append(hashes, sha256.Sum256(token))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s has a line that is no token: %w", name, err)
	}
	if hashes == nil {
		return nil, errors.New(name + " has no token")
	}
	return hashes, nil
}
