package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/cache"
	"k6x/internal/difference"
	"k6x/internal/disk"
)

// variants makes compressed forms of stored binaries and finds them again. They are kept in the
// store as a binary is, each under a key of its own: they are verified, count for the size limit
// and go when no client uses them. Whatever fails here costs nothing but the saving.
type variants struct {
	store   cache.Store
	codings []coding // those wanted
	knows   func(digest string) bool
	find    func(ctx context.Context, digest string) (key string, err error) // of a binary; cache.ErrNotFound if there is none
	logger  *slog.Logger
	wanted  chan variant
	known   *lru.Cache[variant, string] // to the key in the store; "" if it cannot be made

	mu      sync.Mutex // guards pending
	pending map[variant]bool
}

// variant names one form of a binary.
type variant struct {
	key, coding string
	from        string // digest of the binary that it is the difference from; "": it is none
}

// How many variants are known, and how many may wait to be made.
const (
	keptVariants = 16384
	mostWanted   = 256
)

// newVariants returns variants of the codings named; nil if there are none. Knows and find tell binaries by their digests.
func newVariants(names []string, store cache.Store, logger *slog.Logger, knows func(string) bool, find func(context.Context, string) (string, error)) *variants {
	v := &variants{store: store, logger: logger, knows: knows, find: find, wanted: make(chan variant, mostWanted), pending: map[variant]bool{}}
	for _, c := range codings() {
		if slices.Contains(names, c.name) {
			v.codings = append(v.codings, c)
		}
	}
	if v.codings == nil {
		return nil
	}
	v.known, _ = lru.New[variant, string](keptVariants) // fails for a size below 1 only
	return v
}

// choose opens the form of a binary that r is answered with, and returns the name of its coding;
// nil if that is the binary itself. One that there is not yet is made later. A client that names a form
// by its tag, since it has that one or a part of it, gets that one; but one that asks whether the binary as it is is still good, as a cache does that has
// had it while there was no form, gets the form.
func (v *variants) choose(ctx context.Context, r *http.Request, binary *cache.Entry) (*cache.Entry, string) {
	forms := v.acceptable(r, binary.Key)
	if len(forms) == 0 || strings.Contains(tagsOf(r, "If-Range", "If-Match"), binary.Digest) {
		return nil, ""
	}
	tags := tagsOf(r, "If-None-Match", "If-Range", "If-Match")
	var best *cache.Entry
	name := ""
	for _, of := range forms {
		entry := v.open(ctx, of, binary.Body == nil)
		switch {
		case entry == nil:
		case best == nil:
			best, name = entry, of.coding
		case strings.Contains(tags, entry.Digest):
			_ = best.Close()
			best, name = entry, of.coding
		default:
			_ = entry.Close()
		}
		if best != nil && (tags == "" || strings.Contains(tags, best.Digest)) {
			break
		}
	}
	return best, name
}

// tagsOf returns what conditions of r have, in which tags are.
func tagsOf(r *http.Request, conditions ...string) string {
	var tags []string
	for _, name := range conditions {
		tags = append(tags, r.Header.Values(name)...)
	}
	return strings.Join(tags, ",")
}

// likely reports whether the client of r would be sent a form of a binary, now or once it is made.
func (v *variants) likely(r *http.Request, key string) bool {
	return v != nil && slices.ContainsFunc(v.acceptable(r, key), func(of variant) bool {
		form, known := v.known.Get(of)
		return !known || form != ""
	})
}

// acceptable returns the forms of a binary that the client of r would rather have, what it likes best first. A difference is from a binary that the
// client says it has, if that is known here.
func (v *variants) acceptable(r *http.Request, key string) (forms []variant) {
	from := difference.Digest(r.Header.Get(difference.Header))
	for _, c := range acceptable(r.Header.Values("Accept-Encoding"), v.codings) {
		switch {
		case !c.differs:
			forms = append(forms, variant{key: key, coding: c.name})
		case from != "" && v.knows(from):
			forms = append(forms, variant{key, c.name, from})
		}
	}
	return forms
}

// open opens a variant, which may be without a body if none is needed; if there is none it asks for it and returns nil.
func (v *variants) open(ctx context.Context, of variant, bodyless bool) *cache.Entry {
	key, known := v.known.Get(of)
	if known && key == "" {
		return nil
	}
	if known {
		if entry := describe(ctx, v.store, key, bodyless); entry != nil {
			return entry
		}
		entry, err := v.store.Open(ctx, key)
		if err == nil {
			return entry
		}
		v.known.Remove(of)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pending[of] {
		return nil
	}
	select {
	case v.wanted <- of:
		v.pending[of] = true
	default: // the next request asks again
	}
	return nil
}

// differ reports whether differences are made.
func (v *variants) differ() bool {
	return v != nil && slices.ContainsFunc(v.codings, func(c coding) bool { return c.differs })
}

// run makes what is wanted, one after another, until ctx ends.
func (v *variants) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case of := <-v.wanted:
			var key string
			err := protect(func() (err error) {
				defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of a mapped dictionary
				key, err = v.make(ctx, of)
				return err
			})
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, cache.ErrNotFound), errors.Is(err, cache.ErrEvicted): // the binary went meanwhile
			case err != nil:
				v.logger.Warn("a binary cannot be compressed", "key", of.key, "coding", of.coding, "from", of.from, "error", err)
				v.known.Add(of, "")
			default:
				v.known.Add(of, key)
			}
			v.mu.Lock()
			delete(v.pending, of)
			v.mu.Unlock()
		}
	}
}

// make makes a variant unless there is one, and returns its key.
func (v *variants) make(ctx context.Context, of variant) (string, error) {
	began := time.Now()
	c := v.codings[slices.IndexFunc(v.codings, func(c coding) bool { return c.name == of.coding })]
	artifact, err := v.store.Record(ctx, of.key)
	if err != nil {
		return "", err
	}
	binary, err := v.store.Open(ctx, of.key)
	if err != nil {
		return "", err
	}
	defer binary.Close()
	// The coding is one more thing that decides the bytes.
	recipe := artifact.Recipe
	recipe.Flags = append(slices.Clone(recipe.Flags), "content-coding="+c.made)
	if of.from != "" {
		recipe.Flags = append(recipe.Flags, "from="+of.from)
	}
	made, err := v.store.Put(ctx, recipe, func(w io.Writer) (k6x.Build, error) {
		dictionary, release, err := v.dictionary(ctx, of, artifact.Recipe.Platform)
		if err != nil {
			return k6x.Build{}, err
		}
		defer release()
		err = c.compress(ctx, w, binary, dictionary)
		if err != nil && binary.Verify != nil { // damage is no reason to do without the form for good
			err = errors.Join(binary.Verify(ctx), err)
		}
		return k6x.Build{Started: began.UTC(), Duration: time.Since(began), Toolchain: artifact.Build.Toolchain}, err
	}, cache.Unbound)
	if err != nil {
		return "", err
	}
	v.logger.Debug("compressed", "path", artifact.Path, "coding", c.name, "size", artifact.Size, "compressed", made.Size, "duration", time.Since(began))
	return recipe.Key(), nil
}

// dictionary returns the binary that a form is the difference from, until release is called; nil if it is none. It has to be for the same platform, as
// others have little in common. A file is mapped.
func (v *variants) dictionary(ctx context.Context, of variant, platform k6x.Platform) (data []byte, release func(), err error) {
	release = func() {}
	if of.from == "" {
		return nil, release, nil
	}
	key, err := v.find(ctx, of.from)
	if err != nil {
		return nil, release, err
	}
	entry, err := v.store.Open(ctx, key)
	if err != nil {
		return nil, release, err
	}
	defer entry.Close()
	if key == of.key || entry.Platform != platform || entry.Size > difference.MaxSize {
		return nil, release, fmt.Errorf("the binary of %d bytes for %s is no dictionary for one for %s", entry.Size, entry.Platform, platform)
	}
	if file, ok := entry.Body.(*os.File); ok {
		data, release, err = disk.Map(file, entry.Size)
	} else {
		data, err = disk.ReadAll(entry.Body, difference.MaxSize)
	}
	if err != nil {
		return nil, nil, err
	}
	sum := ""
	_ = protect(func() error { // of a mapped file not all may be there
		digest := sha256.Sum256(data)
		sum = hex.EncodeToString(digest[:])
		return nil
	})
	if sum != of.from {
		release()
		return nil, nil, cache.ErrNotFound // it is damaged, or was built anew
	}
	return data, release, nil
}

// piece is how much is compressed between two rests. Each rest is as long as the piece took, so that what
// clients wait for comes first: half of one processor at most.
const piece = 256 << 10

// compress writes a binary in its coding, and checks that what was written decodes to it.
func (c coding) compress(ctx context.Context, w io.Writer, binary *cache.Entry, dictionary []byte) error {
	back, copied := io.Pipe()
	decoded := make(chan error, 1)
	go func() {
		err := protect(func() error { return c.check(back, binary.Digest, dictionary) })
		_ = back.CloseWithError(err) // or the writer would wait for a reader
		decoded <- err
	}()
	err := c.copy(ctx, io.MultiWriter(w, copied), binary.Body, binary.Size, dictionary)
	_ = copied.CloseWithError(err)
	return errors.Join(err, <-decoded)
}

func (c coding) copy(ctx context.Context, w io.Writer, r io.Reader, size int64, dictionary []byte) error {
	encoder, err := c.encode(w, dictionary)
	if err != nil {
		return err
	}
	if whole, ok := encoder.(interface{ Grow(n int64) }); ok {
		whole.Grow(size)
	}
	buf := make([]byte, piece)
	for {
		began := time.Now()
		n, err := io.ReadFull(r, buf)
		if _, err := encoder.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return encoder.Close()
		}
		if err != nil {
			return err
		}
		if !pause(ctx, time.Since(began)) {
			return ctx.Err()
		}
	}
}

// check reads to the end of r and compares with the digest of what it has to decode to.
func (c coding) check(r io.Reader, digest string, dictionary []byte) error {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of a mapped dictionary
	decoder, err := c.decode(r, dictionary)
	if err != nil {
		return err
	}
	defer decoder.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, decoder); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != digest {
		return fmt.Errorf("what was compressed decodes to %s, not to %s", got, digest)
	}
	return nil
}
