package service

import (
	"compress/gzip"
	"io"
	"slices"
	"strconv"
	"strings"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"k6x/internal/difference"
)

// coding is a content coding (RFC 9110 section 8.4.1).
type coding struct {
	name    string
	made    string // what decides its bytes; whatever changes them changes this
	differs bool   // it is the difference from a binary that the client has; else dictionary is nil below
	encode  func(w io.Writer, dictionary []byte) (io.WriteCloser, error)
	decode  func(r io.Reader, dictionary []byte) (io.ReadCloser, error)
}

// zstdWindow is what every decoder of the web has to take (RFC 9659).
const zstdWindow = 8 << 20

// codings are all that there are, the one that gives fewest bytes first.
func codings() []coding {
	return []coding{{
		name: difference.Coding, made: "dcz 1", differs: true,
		encode: difference.NewWriter,
		decode: difference.NewReader,
	}, {
		name: "zstd", made: "zstd 1",
		encode: func(w io.Writer, _ []byte) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
		},
		decode: func(r io.Reader, _ []byte) (io.ReadCloser, error) {
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return nil, err
			}
			return d.IOReadCloser(), nil
		},
	}, {
		name: "gzip", made: "gzip 1",
		encode: func(w io.Writer, _ []byte) (io.WriteCloser, error) { return kgzip.NewWriterLevel(w, 6) },
		decode: func(r io.Reader, _ []byte) (io.ReadCloser, error) { return gzip.NewReader(r) },
	}}
}

// Codings returns the names of the content codings that [Config.Compress] may have.
func Codings() []string {
	var names []string
	for _, c := range codings() {
		names = append(names, c.name)
	}
	return names
}

// acceptable returns those of the codings that a client would rather have than the bytes as
// they are, what it likes best first, by its Accept-Encoding (RFC 9110 section 12.5.3). Without
// that header a client may be sent anything, but most that leave it out decode nothing.
func acceptable(header []string, all []coding) []coding {
	if len(header) == 0 {
		return nil
	}
	quality, identity := weights(header)
	var list []coding
	for _, c := range all {
		if q := quality(c.name); q > 0 && q >= identity {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b coding) int {
		switch qa, qb := quality(a.name), quality(b.name); {
		case qa > qb:
			return -1
		case qa < qb:
			return 1
		}
		return 0
	})
	return list
}

// weights reads the values of Accept-Encoding: what each coding is worth to the client, and
// what the bytes as they are are worth if it says so.
func weights(header []string) (quality func(name string) float64, identity float64) {
	given := map[string]float64{}
	for item := range strings.SplitSeq(strings.Join(header, ","), ",") {
		name, parameters, _ := strings.Cut(item, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		q := 1.0
		if text, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(parameters)), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
				q = 0
			}
		}
		if name = strings.TrimPrefix(name, "x-"); name != "" {
			given[name] = q
		}
	}
	return func(name string) float64 {
		if q, ok := given[name]; ok {
			return q
		}
		return given["*"]
	}, given["identity"]
}
