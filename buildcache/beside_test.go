package buildcache

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"k6x"
)

// tarred returns an exported file with one entry beside a build cache.
func tarred(t *testing.T, h tar.Header, body string) []byte {
	t.Helper()
	var out bytes.Buffer
	enc, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(enc)
	h.Size, h.Mode, h.Format = int64(len(body)), 0o644, tar.FormatPAX
	if err := archive.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	archive.Close()
	enc.Close()
	return out.Bytes()
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhatGoesBesideIsMovedToo(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	long := strings.Repeat("long/", 40) + "name"
	for name, text := range map[string]string{
		"a/@v/v1.0.0.zip": "zip", long: "x", "a/@v/v1.0.0.lock": "", "a/@v/v2.0.0.partial": "", "tmp/half": "half of it", "there": "new",
	} {
		write(t, filepath.Join(from, filepath.FromSlash(name)), text)
	}
	write(t, filepath.Join(to, "there"), "old")
	var file bytes.Buffer
	a := makeSample("a", 100)
	n := newLocal(t)
	keep(t, n, a)
	if _, err := Export(t.Context(), Files{Dir: n.dir, Beside: map[string]string{"modules": from, "none": filepath.Join(from, "none")}}, &file); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 2 {
		if _, err := Import(t.Context(), Files{Dir: dir, Beside: map[string]string{"modules": to}}, bytes.NewReader(file.Bytes())); err != nil {
			t.Fatal(err)
		}
	}
	want(t, start(t, newCache(t, Config{Dir: dir}), ""), a)
	for name, text := range map[string]string{"a/@v/v1.0.0.zip": "zip", long: "x", "there": "old"} {
		if got, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name))); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"a/@v/v1.0.0.lock", "a/@v/v2.0.0.partial", "tmp"} {
		if _, err := os.Stat(filepath.Join(to, name)); !os.IsNotExist(err) {
			t.Errorf("%s was moved", name)
		}
	}
}

func TestNoFileLeavesTheDirectoryThatItIsFor(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: links need a privilege")
	}
	outside := t.TempDir()
	for name, h := range map[string]tar.Header{
		"dots":      {Name: "beside/modules/../../evil", Typeflag: tar.TypeReg},
		"unclean":   {Name: "beside/modules/a/../evil", Typeflag: tar.TypeReg},
		"absolute":  {Name: "beside/modules//evil", Typeflag: tar.TypeReg},
		"nothing":   {Name: "beside/modules", Typeflag: tar.TypeReg},
		"link":      {Name: "beside/modules/link", Linkname: outside, Typeflag: tar.TypeSymlink},
		"long":      {Name: "beside/modules/" + strings.Repeat("x/", 600) + "x", Typeflag: tar.TypeReg},
		"thru link": {Name: "beside/modules/out/evil", Typeflag: tar.TypeReg},
	} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			if err := os.Symlink(outside, filepath.Join(to, "out")); err != nil {
				t.Fatal(err)
			}
			body := "evil"
			if h.Typeflag == tar.TypeSymlink {
				body = ""
			}
			_, err := Import(t.Context(), Files{Dir: t.TempDir(), Beside: map[string]string{"modules": to}}, bytes.NewReader(tarred(t, h, body)))
			if err == nil {
				t.Error("it was imported")
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
				t.Errorf("outside: %v, %v", entries, err)
			}
		})
	}
	// What nobody knows the place of is passed over.
	file := tarred(t, tar.Header{Name: "beside/other/a", Typeflag: tar.TypeReg}, "a")
	if _, err := Import(t.Context(), Files{Dir: t.TempDir()}, bytes.NewReader(file)); err != nil {
		t.Error(err)
	}
}

func TestAnExportGoesThroughARegistry(t *testing.T) {
	url := startRegistry(t) + ":v1"
	if _, err := OpenFile(t.Context(), url); k6x.KindOf(err) != k6x.NotFound {
		t.Errorf("what is not there: %v", err)
	}
	body := strings.Repeat("export", 1<<16)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, body)
	for range 2 {
		if err := PushFile(t.Context(), url, file); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenFile(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(r); err != nil || got.String() != body {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	for _, wrong := range []string{"oci://host/repo@sha256:0", "oci://host", strings.TrimSuffix(url, ":v1")} {
		if err := PushFile(t.Context(), wrong, file); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	fill(t, openStore(t, strings.TrimSuffix(url, ":v1")), "x", makeSample("a", 10))
	list := names(t, openStore(t, strings.TrimSuffix(url, ":v1")), indexDir)
	for _, name := range list {
		if tag := strings.TrimPrefix(name, indexDir); tag != "v1" {
			if _, err := OpenFile(t.Context(), strings.TrimSuffix(url, ":v1")+":"+tag); k6x.KindOf(err) != k6x.Invalid {
				t.Errorf("an index as an export: %v", err)
			}
		}
	}
}
