package cache

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/internal/disk"
)

// Logs keeps texts, such as the output of failed builds, under keys ([k6x.CheckKey]) in
// a directory. Their number and their lengths are bounded. All methods may be called at once.
type Logs struct {
	dir      string
	maxFiles int
	maxBytes int64
	fs       disk.FS

	mu sync.Mutex // held while the directory is changed
}

const (
	logSuffix  = ".log"
	tempInfix  = ".tmp-"
	tempMaxAge = time.Hour // of a file that is being written; an older one is a leftover
)

// OpenLogs keeps texts in dir, which is made if it does not exist: at most maxFiles, of
// at most maxBytes each.
func OpenLogs(dir string, maxFiles int, maxBytes int64) (*Logs, error) {
	if maxFiles < 1 || maxBytes < 1024 {
		return nil, errors.New("a directory of logs needs room for at least one file and 1024 bytes")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of logs: %w", disk.Explain(err))
	}
	l := &Logs{dir: dir, maxFiles: maxFiles, maxBytes: maxBytes}
	if err := l.prune(); err != nil {
		return nil, err
	}
	return l, nil
}

// Put keeps text under key, in place of what was there. Of a text that is too long the
// middle is left out, and a line says so. If there are too many texts, the oldest is
// removed.
func (l *Logs) Put(key, text string) error {
	if err := k6x.CheckKey(key); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	temp := filepath.Join(l.dir, key+tempInfix+rand.Text())
	if err := l.fs.Replace(l.file(key), temp, []byte(shorten(text, l.maxBytes))); err != nil {
		return logFault("the log could not be kept", err)
	}
	return l.prune()
}

// Open returns the text under key and when it was put, or ErrNotFound.
func (l *Logs) Open(key string) (io.ReadSeekCloser, time.Time, error) {
	if err := k6x.CheckKey(key); err != nil {
		return nil, time.Time{}, err
	}
	file, err := os.Open(l.file(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, ErrNotFound
	}
	if err != nil {
		return nil, time.Time{}, logFault("the log could not be opened", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, time.Time{}, logFault("the log could not be opened", errors.Join(err, file.Close()))
	}
	return file, info.ModTime(), nil
}

func (l *Logs) file(key string) string { return filepath.Join(l.dir, key+logSuffix) }

func logFault(message string, err error) error {
	if _, ok := errors.AsType[*k6x.Error](err); ok {
		return err
	}
	return k6x.Errorf(k6x.Internal, "%s", message).WithCause(err)
}

// prune removes the oldest texts beyond the number allowed, and leftovers.
func (l *Logs) prune() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return logFault("the logs could not be listed", err)
	}
	type text struct {
		name string
		put  time.Time
	}
	var texts []text
	var errs []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		name := filepath.Join(l.dir, entry.Name())
		switch {
		case strings.HasSuffix(entry.Name(), logSuffix):
			texts = append(texts, text{name, info.ModTime()})
		case strings.Contains(entry.Name(), tempInfix) && time.Since(info.ModTime()) > tempMaxAge:
			if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	slices.SortFunc(texts, func(a, b text) int { return cmp.Or(a.put.Compare(b.put), cmp.Compare(a.name, b.name)) })
	for _, old := range texts[:max(0, len(texts)-l.maxFiles)] {
		if err := os.Remove(old.name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return logFault("an old log could not be removed", err)
	}
	return nil
}

// shorten leaves out the middle of a text that is longer than limit bytes: the beginning
// of a log says what was done, and the end how it went.
func shorten(text string, limit int64) string {
	if int64(len(text)) <= limit {
		return text
	}
	note := fmt.Sprintf("\n… some of %d bytes left out here …\n", len(text))
	half := (int(limit) - len(note)) / 2
	// The cuts may go through a character.
	return strings.ToValidUTF8(text[:half], "") + note + strings.ToValidUTF8(text[len(text)-half:], "")
}
