package difference

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// noise returns bytes that cannot be compressed.
func noise(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

func encode(t testing.TB, data, dictionary []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, dictionary)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func decode(data, dictionary []byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(data), dictionary)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestWhatIsAlikeTakesFewBytes(t *testing.T) {
	had := noise(10 << 20) // more than the least window
	for name, want := range map[string][]byte{
		"the same":         had,
		"more in it":       append(append(bytes.Clone(had[:1<<20]), bytes.Repeat([]byte("more"), 9000)...), had[1<<20:2<<20]...),
		"less":             had[9<<20:],
		"in another order": append(bytes.Clone(had[9<<20:]), had[:1<<20]...),
		"nothing":          nil,
	} {
		data := encode(t, want, had)
		if got, err := decode(data, had); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
		if len(data) > 20_000 {
			t.Errorf("%s takes %d bytes", name, len(data))
		}
		// A decoder takes a window of 1.25 times the dictionary, and has to reach it from the last byte: RFC 9842 section 5.
		var head zstd.Header
		if err := head.Decode(data[40:]); err != nil || len(want) > 0 && !head.SingleSegment || head.FrameContentSize > uint64(len(had)/4*5) || head.DictionaryID != 0 {
			t.Errorf("%s: %+v, %v", name, head, err)
		}
		// Any Zstandard decoder skips the head.
		d, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(0, had), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.DecodeAll(data, nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, in one: %d bytes, %v", name, len(got), err)
		}
		d.Close()
	}
}

func TestWhatIsNotForThisDictionaryIsRefused(t *testing.T) {
	had := noise(1 << 20)
	data := encode(t, had[1000:], had)
	if string(data[:8]) != "\x5e\x2a\x4d\x18\x20\x00\x00\x00" || hex.EncodeToString(data[8:40]) != sum(had) {
		t.Errorf("it begins with %x", data[:40])
	}
	other := bytes.Clone(had)
	other[5]++
	for name, c := range map[string][2][]byte{
		"another dictionary": {data, other}, "none": {data, nil}, "no head": {data[40:], had}, "half a head": {data[:20], had}, "nothing": {nil, had}, "cut": {data[:len(data)-1], had},
	} {
		if got, err := decode(c[0], c[1]); err == nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
}

func TestNoMoreThanClientsCanDecode(t *testing.T) {
	if _, err := NewWriter(io.Discard, nil); err == nil {
		t.Error("an empty dictionary is used")
	}
	w, err := NewWriter(io.Discard, noise(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, leastWindow)); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte{1}); err == nil {
		t.Error("more is taken than the window of a client")
	}
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

func TestNamesOfDictionaries(t *testing.T) {
	digest := sum([]byte("k6"))
	if got := Digest(Name(digest)); got != digest {
		t.Errorf("%s is read as %s", Name(digest), got)
	}
	for _, value := range []string{"", ":", "::", digest, ":" + digest + ":", Name(digest) + "x", "x" + Name(digest), ":AAAA:", strings.Repeat(":", 9999), Name(digest)[:20] + ":"} {
		if got := Digest(value); got != "" {
			t.Errorf("%.50q is read as %s", value, got)
		}
	}
}
