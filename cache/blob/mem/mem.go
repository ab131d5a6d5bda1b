// Package mem keeps blobs in memory.
package mem

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"k6x/cache/blob"
)

// Bucket is a [blob.Bucket] in memory. The zero value is ready.
type Bucket struct {
	blob.Plain
	NoMD5 bool // what a bucket knows has no checksums, as that of some services

	mu    sync.Mutex // guards what follows
	blobs map[string]content
	puts  int
}

// content is never changed.
type content struct {
	data []byte
	info blob.Info
}

var _ blob.Bucket = (*Bucket)(nil)

// Open implements [blob.Bucket]. The body can seek.
func (b *Bucket) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	c, err := b.get(ctx, name)
	if err != nil {
		return nil, blob.Info{}, err
	}
	if offset < 0 || offset > c.info.Size {
		return nil, blob.Info{}, fmt.Errorf("open %s at %d of %d bytes", name, offset, c.info.Size)
	}
	return body{bytes.NewReader(c.data[offset:])}, c.info, nil
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

// Touch sets the ModTime of a blob.
func (b *Bucket) Touch(_ context.Context, name string, to time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.blobs[name]; ok {
		c.info.ModTime = to
		b.blobs[name] = c
	}
	return nil
}

// Stat implements [blob.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	c, err := b.get(ctx, name)
	return c.info, err
}

func (b *Bucket) get(ctx context.Context, name string) (content, error) {
	if err := ctx.Err(); err != nil {
		return content{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.blobs[name]
	if !ok {
		return content{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return c, nil
}

// Put implements [blob.Bucket].
func (b *Bucket) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(io.NewSectionReader(body, 0, size), data)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return blob.Info{}, err
	}
	var sum []byte
	if !b.NoMD5 {
		whole := md5.Sum(data)
		sum = whole[:]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.blobs[name]; taken && o.IfAbsent {
		return blob.Info{}, &fs.PathError{Op: "put", Path: name, Err: fs.ErrExist}
	}
	if b.blobs == nil {
		b.blobs = make(map[string]content)
	}
	b.puts++
	info := blob.Info{Name: name, Size: size, ModTime: time.Now(), ETag: strconv.Itoa(b.puts), MD5: sum}
	b.blobs[name] = content{data, info}
	return info, nil
}

// Delete implements [blob.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.blobs, name)
	return nil
}

// List implements [blob.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(blob.Info{}, err)
			return
		}
		var found []blob.Info // as the bucket may be used while they are passed on
		b.mu.Lock()
		for name, c := range b.blobs {
			if strings.HasPrefix(name, prefix) {
				found = append(found, c.info)
			}
		}
		b.mu.Unlock()
		for _, info := range found {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// Close implements [blob.Bucket].
func (b *Bucket) Close() error { return nil }
