package buildcache

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"k6x"
)

func exported(t *testing.T, samples ...sample) []byte {
	t.Helper()
	n := newLocal(t)
	for _, x := range samples {
		keep(t, n, x)
	}
	var out bytes.Buffer
	if _, err := Export(t.Context(), Files{Dir: n.dir}, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAnExportIsImportedAsItWas(t *testing.T) {
	a, b, empty := makeSample("a", 100), makeSample("b", 1<<20), makeSample("empty", 0)
	same := sample{makeSample("same", 0).action, a.output, a.body}
	file := exported(t, a, b, empty, same)
	dir := t.TempDir()
	for range 2 {
		totals, err := Import(t.Context(), Files{Dir: dir}, bytes.NewReader(file))
		if err != nil || totals != (Totals{Actions: 4, Outputs: 3, Bytes: 100 + 1<<20}) {
			t.Fatalf("%+v, %v", totals, err)
		}
	}
	want(t, start(t, newCache(t, Config{Dir: dir}), ""), a, b, empty, same)
}

func TestDamageIsNotExported(t *testing.T) {
	a, b := makeSample("a", 100), makeSample("b", 100)
	n := newLocal(t)
	keep(t, n, a)
	keep(t, n, b)
	if err := os.WriteFile(n.output(a.output), []byte(strings.Repeat("y", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if totals, err := Export(t.Context(), Files{Dir: n.dir}, &out); err != nil || totals.Actions != 1 {
		t.Fatalf("%+v, %v", totals, err)
	}
	s := start(t, newCache(t, Config{Dir: importInto(t, out.Bytes())}), "")
	if has(t, s, a) || !has(t, s, b) {
		t.Error("not what was good")
	}
}

func importInto(t *testing.T, file []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := Import(t.Context(), Files{Dir: dir}, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAFileThatIsCutIsNotImportedWithoutAWord(t *testing.T) {
	a, b := makeSample("a", 5000), makeSample("b", 5000)
	file := exported(t, a, b)
	for end := range file {
		dir := t.TempDir()
		_, err := Import(t.Context(), Files{Dir: dir}, bytes.NewReader(file[:end]))
		if k6x.KindOf(err) != k6x.Invalid {
			t.Fatalf("cut at %d of %d: %v", end, len(file), err)
		}
		s := start(t, newCache(t, Config{Dir: dir}), "")
		has(t, s, a) // fails the test if the bytes are wrong
		has(t, s, b)
	}
}

func TestFilesThatAreNoExportAreRefused(t *testing.T) {
	x := makeSample("x", 10)
	line := formatLine(x.action, Entry{Output: x.output, Size: 10, Time: time.Now()})
	name := x.output.String()
	archive := func(headers ...*tar.Header) []byte {
		var out bytes.Buffer
		enc, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(enc)
		for _, h := range headers {
			h.Mode = 0o644
			body := x.body
			if strings.HasSuffix(h.Name, "-a") {
				body = line
			}
			if h.Typeflag == 0 {
				h.Typeflag = tar.TypeReg
			}
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(body))
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := io.WriteString(w, body); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := errors.Join(w.Close(), enc.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	good := func() *tar.Header { return &tar.Header{Name: name[:2] + "/" + name + "-d"} }
	action := x.action.String()
	for what, file := range map[string][]byte{
		"nothing":               nil,
		"text":                  []byte("hello"),
		"outside":               archive(&tar.Header{Name: "../" + name + "-d"}),
		"absolute":              archive(&tar.Header{Name: "/" + name[:2] + "/" + name + "-d"}),
		"another directory":     archive(&tar.Header{Name: "zz/" + name + "-d"}),
		"another kind":          archive(&tar.Header{Name: name[:2] + "/" + name + "-x"}),
		"a link":                archive(&tar.Header{Name: name[:2] + "/" + name + "-d", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"short":                 archive(&tar.Header{Name: "x"}),
		"another body":          archive(&tar.Header{Name: action[:2] + "/" + action + "-d"}),
		"action without output": archive(&tar.Header{Name: action[:2] + "/" + action + "-a"}),
		"another action":        archive(good(), &tar.Header{Name: name[:2] + "/" + name + "-a"}),
	} {
		dir := t.TempDir()
		if _, err := Import(t.Context(), Files{Dir: dir}, bytes.NewReader(file)); k6x.KindOf(err) != k6x.Invalid || k6x.AsError(err).Hint == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Import(t.Context(), Files{Dir: t.TempDir()}, bytes.NewReader(archive(good(), &tar.Header{Name: action[:2] + "/" + action + "-a"}))); err != nil {
		t.Errorf("what is right: %v", err)
	}
}

func TestAnErrorOfTheReaderIsReturned(t *testing.T) {
	file := exported(t, makeSample("x", 5000))
	_, err := Import(t.Context(), Files{Dir: t.TempDir()}, iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(file))))
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add(compress(f, "hello"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		if _, err := Import(t.Context(), Files{Dir: dir}, bytes.NewReader(compress(t, string(raw)))); err == nil {
			return
		}
		n, err := openLocal(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.each(t.Context(), func(_ ID, e Entry) error { return n.verify(e.Output, e.Size) }); err != nil {
			t.Fatal(err)
		}
	})
}
