package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/dir"
	"k6x/internal/disk"
)

// Logs keeps texts, such as the output of builds, under keys ([k6x.CheckKey]) in
// a directory. Their number and their lengths are bounded. All methods may be called at once.
type Logs struct {
	files    *dir.Bucket
	maxFiles int
	maxBytes int64

	mu sync.Mutex // held while the directory is changed
}

const (
	logSuffix  = ".log"
	tempInfix  = ".tmp-" // of files that were being written by the program of before
	tempMaxAge = time.Hour
)

// OpenLogs keeps texts in a directory, which is made if it does not exist: at most maxFiles, of
// at most maxBytes each.
func OpenLogs(where string, maxFiles int, maxBytes int64) (*Logs, error) {
	if maxFiles < 1 || maxBytes < 1024 {
		return nil, errors.New("a directory of logs needs room for at least one file and 1024 bytes")
	}
	files, err := dir.Open(where, 0o755)
	if err != nil {
		return nil, fmt.Errorf("make the directory of logs: %w", disk.Explain(err))
	}
	l := &Logs{files: files, maxFiles: maxFiles, maxBytes: maxBytes}
	if err := l.prune(context.Background()); err != nil {
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
	ctx := context.Background()
	if err := blob.PutBytes(ctx, l.files, key+logSuffix, []byte(shorten(text, l.maxBytes)), blob.PutOptions{}); err != nil {
		return logFault("the log could not be kept", err)
	}
	return l.prune(ctx)
}

// Open returns the text under key and when it was put, or ErrNotFound.
func (l *Logs) Open(key string) (io.ReadSeekCloser, time.Time, error) {
	if err := k6x.CheckKey(key); err != nil {
		return nil, time.Time{}, err
	}
	file, info, err := l.files.Open(context.Background(), key+logSuffix, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, ErrNotFound
	}
	if err != nil {
		return nil, time.Time{}, logFault("the log could not be opened", err)
	}
	return file.(*os.File), info.ModTime, nil
}

func logFault(message string, err error) error {
	if _, ok := errors.AsType[*k6x.Error](err); ok {
		return err
	}
	return k6x.Errorf(k6x.Internal, "%s", message).WithCause(err)
}

// prune removes the oldest texts beyond the number allowed, and leftovers.
func (l *Logs) prune(ctx context.Context) error {
	var texts, old []blob.Info
	for info, err := range l.files.List(ctx, "") {
		if err != nil {
			return logFault("the logs could not be listed", err)
		}
		switch {
		case strings.HasSuffix(info.Name, logSuffix):
			texts = append(texts, info)
		case strings.Contains(info.Name, tempInfix) && time.Since(info.ModTime) > tempMaxAge:
			old = append(old, info)
		}
	}
	slices.SortFunc(texts, func(a, b blob.Info) int { return cmp.Or(a.ModTime.Compare(b.ModTime), cmp.Compare(a.Name, b.Name)) })
	var failed []error
	for _, info := range append(old, texts[:max(0, len(texts)-l.maxFiles)]...) {
		failed = append(failed, l.files.Delete(ctx, info.Name)) // and the others can be removed all the same
	}
	if err := errors.Join(failed...); err != nil {
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
