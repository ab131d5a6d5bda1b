package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"k6x"
	"k6x/internal/difference"
)

// A difference gives the binary, or the client asks for all of it.
func TestADifferenceIsVerifiedOrTheWholeIsAskedFor(t *testing.T) {
	had := append([]byte("another "), data...)
	var buf bytes.Buffer
	w, err := difference.NewWriter(&buf, had)
	if err == nil {
		_, err = w.Write(data)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	good := buf.String()
	encoder, _ := zstd.NewWriter(nil)
	bomb := good[:40] + string(encoder.EncodeAll(make([]byte, 3<<20), nil))
	unencoded := func(data []byte) string {
		sum := sha256.Sum256(data)
		return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	}
	const huge = "a gigabyte"
	for name, c := range map[string]struct {
		body, digest, kept string
		whole              bool
	}{
		"good":                 {good, unencoded(data), string(had), false},
		"cut":                  {good[:len(good)-3], unencoded(data), string(had), true},
		"no difference":        {"nothing of that kind", unencoded(data), string(had), true},
		"more than may come":   {bomb, unencoded(data), string(had), true},
		"of another binary":    {good, unencoded([]byte("other")), string(had), true},
		"no digest":            {good, "", string(had), true},
		"the kept one changed": {good, unencoded(data), "another" + string(had), true},
		"the kept one is gone": {good, unencoded(data), "", true},
		"the kept one is huge": {good, unencoded(data), huge, true},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			cl, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.Header.Get(difference.Header) == "" {
					serveData(w, r)
					return
				}
				if r.Header.Get("Accept-Encoding") != "dcz" || r.Header.Get(difference.Header) != difference.Name(sumOf(had)) {
					t.Errorf("asked with %v", r.Header)
				}
				announce(w, []byte(c.body))
				w.Header().Set("Content-Encoding", "dcz")
				if c.digest != "" {
					w.Header().Set("Unencoded-Digest", c.digest)
				}
				_, _ = io.WriteString(w, c.body)
			})
			cl.MaxSize = 2 << 20
			cl.Nearest = func(platform k6x.Platform, l k6x.List) (string, func() (io.ReadCloser, error)) {
				if platform != linux || l.String() != pinned {
					t.Errorf("near %s %s", platform, l)
				}
				return sumOf(had), func() (io.ReadCloser, error) {
					switch c.kept {
					case "":
						return nil, errors.New("it is gone")
					case huge: // of which no more is read than a dictionary may have
						return io.NopCloser(io.LimitReader(zeros{}, 1<<30)), nil
					}
					return io.NopCloser(strings.NewReader(c.kept)), nil
				}
			}
			file := tempFile(t)
			got, err := cl.Fetch(t.Context(), linux, list(t, pinned), file)
			wantBinary(t, cl, got, err)
			wantBytes(t, file, data)
			if (asked == 2) != c.whole || asked > 2 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// zeros is a reader without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A service that makes no differences, or has not made this one yet, sends the binary.
func TestNoDifferenceIsNoLoss(t *testing.T) {
	cl, ranges := from(t, half(cut))
	cl.Nearest = func(k6x.Platform, k6x.List) (string, func() (io.ReadCloser, error)) {
		return sumOf([]byte("another")), nil
	}
	file := tempFile(t)
	got, err := cl.Fetch(t.Context(), linux, list(t, pinned), file)
	wantBinary(t, cl, got, err)
	wantBytes(t, file, data)
	if len(*ranges) != 2 || (*ranges)[1] != "bytes=500000-" {
		t.Errorf("asked for %q", *ranges)
	}
}
