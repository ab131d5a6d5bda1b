package cache

import (
	"bytes"
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
	shared   blob.Bucket // of several services; nil: there is none
	maxFiles int
	maxBytes int64

	mu sync.Mutex // held while the directory is changed
}

const (
	logSuffix  = ".log"
	tempInfix  = ".tmp-" // of files that were being written by the program of before
	tempMaxAge = time.Hour

	sharedFiles = 10 // times as many texts are kept for several services
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
	if err := prune(context.Background(), files, maxFiles); err != nil {
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
	return prune(ctx, l.files, l.maxFiles)
}

// Share has [Logs.Upload] copy texts to a bucket, in which other services find them. It is to be called before any other method.
func (l *Logs) Share(b blob.Bucket) { l.shared = b }

// Upload copies the text under key to the bucket that is shared. Without a text, or one that can be read, there is nothing to do.
func (l *Logs) Upload(ctx context.Context, key string) error {
	if l.shared == nil || k6x.CheckKey(key) != nil {
		return nil
	}
	text, err := blob.ReadAll(ctx, l.files, key+logSuffix, 2*l.maxBytes)
	if err != nil {
		return nil
	}
	return l.PutShared(ctx, key, string(text))
}

// PutShared is [Logs.Put] to the bucket that is shared alone.
func (l *Logs) PutShared(ctx context.Context, key, text string) error {
	if err := k6x.CheckKey(key); err != nil || l.shared == nil {
		return err
	}
	return blob.PutBytes(ctx, l.shared, key+logSuffix, []byte(shorten(text, l.maxBytes)), blob.PutOptions{ContentType: "text/plain; charset=utf-8"})
}

// Maintain bounds what is in the bucket that is shared: to ten times as many texts as are here.
func (l *Logs) Maintain(ctx context.Context) error {
	if l.shared == nil {
		return nil
	}
	return prune(ctx, l.shared, sharedFiles*l.maxFiles)
}

// Open returns the text under key and when it was put, or ErrNotFound. One that is not here is looked for in the bucket that is shared; if that does
// not answer, the error is of kind Unavailable.
func (l *Logs) Open(ctx context.Context, key string) (io.ReadSeekCloser, time.Time, error) {
	if err := k6x.CheckKey(key); err != nil {
		return nil, time.Time{}, err
	}
	file, info, err := l.files.Open(ctx, key+logSuffix, 0)
	if err == nil {
		return file.(*os.File), info.ModTime, nil
	}
	if errors.Is(err, fs.ErrNotExist) && l.shared != nil {
		var text []byte
		if text, info, err = blob.Read(ctx, l.shared, key+logSuffix, 2*l.maxBytes); err == nil {
			return memory{bytes.NewReader(text)}, info.ModTime, nil
		}
		if blob.IgnoreAbsent(err) != nil && !k6x.Interrupted(err) {
			err = k6x.Errorf(k6x.Unavailable, "the log could not be read from the bucket").WithRetry(time.Minute).WithCause(err)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, ErrNotFound
	}
	return nil, time.Time{}, logFault("the log could not be opened", err)
}

// memory is a text that was read.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func logFault(message string, err error) error {
	if _, ok := errors.AsType[*k6x.Error](err); ok {
		return err
	}
	return k6x.Errorf(k6x.Internal, "%s", message).WithCause(err)
}

// prune removes the oldest texts beyond a number, and leftovers.
func prune(ctx context.Context, b blob.Bucket, maxFiles int) error {
	var texts, old []blob.Info
	for info, err := range b.List(ctx, "") {
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
	for _, info := range append(old, texts[:max(0, len(texts)-maxFiles)]...) {
		failed = append(failed, b.Delete(ctx, info.Name)) // and the others can be removed all the same
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
