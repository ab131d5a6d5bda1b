// Package difference sends bytes to a client that has others which are much alike: the content coding dcz of Compression
// Dictionary Transport (RFC 9842), which is Zstandard with the bytes that the client has for a dictionary. Of a k6 of 50 MB that differs by an
// extension from another one it leaves 3 MB.
package difference

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Coding is the name of the content coding, and Header that of the request header by which a client says what it has.
const (
	Coding = "dcz"
	Header = "Available-Dictionary"
)

// Bounds of RFC 9842 section 5: a decoder takes a window of 1.25 times the dictionary, and between these. The window has to reach from the last byte
// back to the dictionary.
const (
	leastWindow = 8 << 20
	maxWindow   = 128 << 20
)

// MaxSize is how many bytes a dictionary may have.
const MaxSize = maxWindow

// magic is the head of a frame that Zstandard decoders skip, with the SHA-256 of the dictionary in it.
const magic = "\x5e\x2a\x4d\x18\x20\x00\x00\x00"

// Name returns the value of [Header] for a digest, a hex SHA-256.
func Name(digest string) string {
	sum, _ := hex.DecodeString(digest)
	return ":" + base64.StdEncoding.EncodeToString(sum) + ":"
}

// Digest returns the digest that a value of [Header] has; "" if it has none.
func Digest(value string) string {
	value = strings.TrimSpace(value)
	if len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
		return ""
	}
	sum, err := base64.StdEncoding.DecodeString(value[1 : len(value)-1])
	if err != nil || len(sum) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(sum)
}

// NewWriter returns a writer that encodes for w. The bytes are kept in memory until it is closed, as they are one block for a decoder. It fails
// for more of them than clients with that dictionary have to be able to decode.
func NewWriter(w io.Writer, dictionary []byte) (io.WriteCloser, error) {
	if len(dictionary) == 0 || len(dictionary) > MaxSize {
		return nil, fmt.Errorf("a dictionary of %d bytes cannot be used", len(dictionary))
	}
	return &writer{w: w, dictionary: dictionary, most: min(max(leastWindow, len(dictionary)/4*5), maxWindow)}, nil
}

type writer struct {
	w          io.Writer
	dictionary []byte
	most       int
	buf        []byte
}

// Grow makes room for n bytes, if that many are to come.
func (e *writer) Grow(n int64) { e.buf = slices.Grow(e.buf, int(min(n, int64(e.most)))) }

// Write implements [io.Writer].
func (e *writer) Write(p []byte) (int, error) {
	if len(e.buf)+len(p) > e.most {
		return 0, fmt.Errorf("more than %d bytes are too many for a dictionary of %d", e.most, len(e.dictionary))
	}
	e.buf = append(e.buf, p...)
	return len(p), nil
}

// Close writes all of it.
func (e *writer) Close() error {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow),
		zstd.WithSingleSegment(true), zstd.WithEncoderDictRaw(0, e.dictionary))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(e.dictionary)
	for _, part := range [][]byte{[]byte(magic), sum[:], encoder.EncodeAll(e.buf, nil)} {
		if _, err := e.w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// NewReader returns a reader of what was encoded with that dictionary. What it gives may be anything, as with every decoder: compare its digest.
func NewReader(r io.Reader, dictionary []byte) (io.ReadCloser, error) {
	head := make([]byte, len(magic)+sha256.Size)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(dictionary); string(head) != magic+string(sum[:]) {
		return nil, fmt.Errorf("these are no bytes in the coding %s for that dictionary", Coding)
	}
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderDictRaw(0, dictionary))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}
