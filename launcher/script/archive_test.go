package script

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
)

// pack returns a tar file of pairs of name and text. A text that starts with -> is a link.
func pack(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		header := &tar.Header{Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1]))}
		target, link := strings.CutPrefix(pairs[i+1], "->")
		if link {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, target, 0
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if !link {
			if _, err := w.Write([]byte(pairs[i+1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testArchive(t testing.TB) []byte {
	return pack(t,
		"metadata.json", `{"type":"js","filename":"file:///home/nobody/t/script.js","pwd":"file:///home/nobody/t/",
			"k6version":"1.8.1","dependencies":{"k6":">=v0.52","k6/x/faker":"*","k6/x/declared":">1"}}`,
		"data", "\"use k6 >= 0.52\";\nimport \"./lib/a.js\";\nimport \"k6/x/faker\";\nimport \"https://x.example/r/m.js\";\nimport \"https://y.example/gone.js\";",
		"file/home/nobody/t/lib/a.js", `import "/home/me/t/lib/b.js"; import "file:///C:/lib/c.js"; import "../big.bin.js"`,
		"file/home/nobody/t/lib/b.js", `import "k6/x/b"; import "../script.js";`,
		"file/C/lib/c.js", `import "k6/x/c";`,
		"file/home/nobody/t/script.js", "->data",
		"file/home/nobody/t/big.bin.js", strings.Repeat(" ", 1<<20),
		"https/x.example/r/m.js", `import "./n.js"; import "/o.js"; import "./p.js";`,
		"https/x.example/r/n.js", `import "k6/x/n";`,
		"https/x.example/o.js", `import "k6/x/o";`,
	)
}

func TestArchiveIsAnalyzedLikeItsScript(t *testing.T) {
	const want = `k6 >=v0.52
	a.tar(metadata.json): >=v0.52
	a.tar(file/home/nobody/t/script.js):1: >= 0.52
k6/x/b *
	a.tar(file/home/nobody/t/lib/b.js):1: *
k6/x/c *
	a.tar(file/C/lib/c.js):1: *
k6/x/declared >1
	a.tar(metadata.json): >1
k6/x/faker *
	a.tar(metadata.json): *
k6/x/n *
	a.tar(https/x.example/r/n.js):1: *
k6/x/o *
	a.tar(https/x.example/o.js):1: *
unread https://y.example/gone.js (imported by a.tar(file/home/nobody/t/script.js):5) was not looked into: it is k6 that fetches it. If it needs an extension, name that, as in --with k6/x/redis
unread https://x.example/r/p.js (imported by a.tar(https/x.example/r/m.js):1) was not looked into: it is k6 that fetches it. If it needs an extension, name that, as in --with k6/x/redis
`
	dir := t.TempDir()
	data := testArchive(t)
	write(t, filepath.Join(dir, "a.tar"), string(data))
	report, err := Analyze(t.Context(), Input{Dir: dir, Path: "a.tar"})
	if diff := cmp.Diff(want, render(t, report, err)); diff != "" {
		t.Errorf("a file: wanted (-), got (+):\n%s", diff)
	}
	report, err = Analyze(t.Context(), Input{Dir: dir, Path: "-", Stdin: bytes.NewReader(data)})
	if diff := cmp.Diff(strings.ReplaceAll(want, "a.tar", "stdin"), render(t, report, err)); diff != "" {
		t.Errorf("stdin: wanted (-), got (+):\n%s", diff)
	}
	if !bytes.Equal(report.Stdin, data) {
		t.Error("stdin is not kept as it was")
	}
}

func TestArchiveThatIsDamagedIsAnErrorOrANoteButNeverMore(t *testing.T) {
	data := testArchive(t)
	data = data[:bytes.Index(data, []byte("file/home/nobody/t/big.bin.js"))+600]
	for size := 512; size < len(data); size += 100 {
		_, err := Analyze(t.Context(), Input{Path: "-", Stdin: bytes.NewReader(data[:size])})
		if err != nil && k6x.KindOf(err) != k6x.Invalid && k6x.KindOf(err) != k6x.NotFound {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestArchivesThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"tar file of something else": {pack(t, "a.js", `import "k6/x/a"`),
			"note stdin: it was not looked into: it is a tar file, but none of k6\n"},
		"no script": {pack(t, "metadata.json", `{"filename":"file:///a.js"}`),
			"note stdin: it was not looked into: it does not say which script is its main one\n"},
		"no name": {pack(t, "metadata.json", `{}`, "data", `import "k6/x/a"`),
			"note stdin: it was not looked into: it does not say which script is its main one\n"},
		"bad metadata": {pack(t, "metadata.json", `{"filename":1}`, "data", ""),
			"error invalid: the archive stdin has a metadata.json that cannot be read: json: cannot unmarshal number into Go struct field metadata.filename of type string\n"},
		"bad dependency": {pack(t, "metadata.json", `{"dependencies":{"k6/http":"*"}}`, "data", ""),
			"error invalid: stdin(metadata.json): \"k6/http\" is not a name of a dependency\n"},
		"a Go module": {pack(t, "metadata.json", `{"filename":"file:///a.js","dependencies":{"evil.example/pwn":"v0.1.0"}}`, "data", ""),
			"error forbidden: stdin(metadata.json): the Go module evil.example/pwn is asked for, which only you can choose\n"},
		"a Go module in its script": {pack(t, "metadata.json", `{"filename":"file:///a.js"}`, "data", `"use k6 with evil.example/pwn";`),
			"error forbidden: stdin(file/a.js):1: the Go module evil.example/pwn is asked for, which only you can choose\n"},
		"a Go module in a file of a URL": {pack(t, "metadata.json", `{"filename":"file:///a.js"}`, "data", `import "https://x.example/b.js";`,
			"https/x.example/b.js", `"use k6 with evil.example/pwn";`),
			"error forbidden: stdin(https/x.example/b.js):1: the Go module evil.example/pwn is asked for, which only you can choose\n"},
		"missing module": {pack(t, "metadata.json", `{"filename":"/a/b.js"}`, "data", "\nimport './c.js'"),
			"error not_found: stdin(file/a/b.js):2: \"./c.js\" is imported, but there is no such file: stdin(file/a/c.js)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := Analyze(t.Context(), Input{Dir: t.TempDir(), Path: "-", Stdin: bytes.NewReader(c.data)})
			if diff := cmp.Diff(c.want, render(t, report, err)); diff != "" {
				t.Errorf("wanted (-), got (+):\n%s", diff)
			}
		})
	}
}

func TestArchiveWithTooManyFilesIsAnError(t *testing.T) {
	bounds := defaults
	bounds.entries = 5
	_, err := analyze(t.Context(), Input{Path: "-", Stdin: bytes.NewReader(testArchive(t))}, bounds)
	if k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("got %v", err)
	}
}

// Archives with large data files are common; only modules are read.
func TestArchiveReadsNothingOfDataFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	data := pack(t, "file/data.csv", strings.Repeat("x", 1<<20), "metadata.json", `{"filename":"/a.js"}`, "data", `import "k6/x/a"`)
	write(t, path, string(data))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counted := &countingReaderAt{r: f}
	a := &analysis{limits: defaults, deadline: time.Now().Add(time.Minute), named: map[string]bool{}}
	if err := a.main(t.Context(), path, counted, int64(len(data))); err != nil || !a.named["k6/x/a"] {
		t.Fatal(err, a.named)
	}
	if counted.n > 64<<10 {
		t.Errorf("%d bytes were read", counted.n)
	}
}

type countingReaderAt struct {
	r interface {
		ReadAt([]byte, int64) (int, error)
	}
	n int
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += n
	return n, err
}
