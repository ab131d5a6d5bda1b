package buildcache

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func TestAnIndexIsReadAsItWasWritten(t *testing.T) {
	a, b := makeSample("a", 10), makeSample("b", 20)
	x := &index{
		Merged: true, Packs: []packed{{a.action, 99, []sized{{a.output, 10}, {b.output, 20}}}},
		Actions: []bound{{a.action, a.output}, {b.action, b.output}}, Builds: []build{{"k6@v1.8.1", []ID{a.action}}},
	}
	body, err := encodeIndex(x)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeIndex(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(x, got); diff != "" {
		t.Error(diff)
	}
}

func compress(t testing.TB, text string) []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return enc.EncodeAll([]byte(text), nil)
}

func TestIndexesOutOfBoundsAreRefused(t *testing.T) {
	id := strings.Repeat("0", 64)
	for name, body := range map[string][]byte{
		"nothing":         nil,
		"not compressed":  []byte(`{"Format":1}`),
		"not JSON":        compress(t, "hello"),
		"another format":  compress(t, `{"Format":2}`),
		"short id":        compress(t, `{"Format":1,"Actions":[{"A":"00","O":"`+id+`"}]}`),
		"capitals":        compress(t, `{"Format":1,"Actions":[{"A":"`+strings.Repeat("A", 64)+`","O":"`+id+`"}]}`),
		"negative pack":   compress(t, `{"Format":1,"Packs":[{"ID":"`+id+`","Size":-1}]}`),
		"negative output": compress(t, `{"Format":1,"Packs":[{"ID":"`+id+`","Size":1,"Outputs":[{"O":"`+id+`","S":-1}]}]}`),
		"huge output":     compress(t, `{"Format":1,"Packs":[{"ID":"`+id+`","Size":1,"Outputs":[{"O":"`+id+`","S":9e15}]}]}`),
		"long label":      compress(t, `{"Format":1,"Builds":[{"Label":"`+strings.Repeat("x", MaxLabel+1)+`"}]}`),
		"a bomb":          compress(t, strings.Repeat(" ", maxIndexRaw+1)),
	} {
		if _, err := decodeIndex(body); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzDecodeIndex(f *testing.F) {
	f.Add(compress(f, `{"Format":1,"Builds":[{"Label":"x"}]}`))
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, body []byte) {
		x, err := decodeIndex(body)
		if err != nil {
			return
		}
		again, err := encodeIndex(x)
		if err != nil {
			t.Fatal(err)
		}
		if y, err := decodeIndex(again); err != nil || len(y.Actions) != len(x.Actions) {
			t.Fatalf("%v after writing it again", err)
		}
	})
}

func TestNamesOfIndexesSortByTimeAndNameTheirScope(t *testing.T) {
	body := []byte("body")
	early, late := indexName("a.b", time.Unix(1, 0), body), indexName("a.b", time.Unix(2000000000, 0), body)
	if early >= late {
		t.Errorf("%s is not before %s", early, late)
	}
	if !isIndex("a.b", early) || isIndex("a", early) || isIndex("a.b", early+"x") || isIndex("a.b", "index/a.b.x") {
		t.Error("the scope of an index is not the one that its name says")
	}
	if !isIndexBody(early, body) || isIndexBody(early, []byte("other")) {
		t.Error("the digest in the name does not matter")
	}
}

func TestPacksAreUnpackedToWhatWasPacked(t *testing.T) {
	samples := []sample{makeSample("a", 100), makeSample("empty", 0), makeSample("b", 3<<20), makeSample("c", 1)}
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range samples {
		if err := p.add(sized{x.output, int64(len(x.body))}, strings.NewReader(x.body)); err != nil {
			t.Fatal(err)
		}
	}
	made, body, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	if made.ID != sha256.Sum256(body) || made.Size != int64(len(body)) {
		t.Errorf("%v of %d bytes is said to be %v of %d", sha256.Sum256(body), len(body), made.ID, made.Size)
	}
	n := newLocal(t)
	if err := n.unpack(made.Outputs[1:2], bytes.NewReader(body)); err == nil {
		t.Error("a pack with more than announced was taken")
	}
	for cut := range 20 { // wherever it ends early
		end := len(body) * cut / 20
		if err := newLocal(t).unpack(made.Outputs, bytes.NewReader(body[:end])); err == nil {
			t.Errorf("the first %d of %d bytes were taken for all", end, len(body))
		}
	}
	for range 2 { // the second time all is there
		if err := n.unpack(made.Outputs, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range samples {
		if err := n.verify(x.output, int64(len(x.body))); err != nil {
			t.Error(err)
		}
	}
	if err := p.add(sized{samples[0].output, 100}, strings.NewReader("other")); err == nil {
		t.Error("another body was packed")
	}
}
