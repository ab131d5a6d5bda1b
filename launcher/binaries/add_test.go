package binaries

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k6x"
)

const one = "k6@v1.8.1,k6/x/redis@v0.3.6"

func TestWhatIsAddedIsKept(t *testing.T) {
	d := newDir(t, Config{})
	meta := metaOf(t, linux, one)
	added, err := d.Add(t.Context(), meta, write("binary"))
	if err != nil {
		t.Fatal(err)
	}
	found, ok := newDir(t, Config{Dir: d.Path()}).Find(t.Context(), linux, list(t, one))
	if !ok || found.Path != added.Path || found.Digest != sumOf("binary") || found.Size != 6 || found.Source != meta.Source ||
		!maps.Equal(found.Versions, meta.Versions) || found.Platform != linux || found.Used.IsZero() {
		t.Errorf("%+v, %v", found, ok)
	}
	wantBody(t, found, "binary")
	first, err := d.Add(t.Context(), metaOf(t, linux, one), never(t))
	if err != nil || first.Path != added.Path {
		t.Errorf("a second time: %+v, %v", first, err)
	}
	windows, err := d.Add(t.Context(), metaOf(t, k6x.Platform{OS: "windows", Arch: "amd64"}, one), write("exe"))
	if err != nil || filepath.Base(windows.Path) != "k6.exe" {
		t.Errorf("%+v, %v", windows, err)
	}
	wantTidy(t, d, 2)
}

func TestAnAddThatFailsLeavesNothing(t *testing.T) {
	d := newDir(t, Config{})
	broken := errors.New("broke off")
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		fill func(*os.File) error
		want func(error) bool
	}{
		"half":    {fill: func(f *os.File) error { return errors.Join(write("half")(f), broken) }, want: func(err error) bool { return errors.Is(err, broken) }},
		"nothing": {fill: write(""), want: func(err error) bool { return k6x.KindOf(err) == k6x.Unavailable }},
		"canceled": {fill: func(f *os.File) error { cancel(); return write("binary")(f) },
			want: func(err error) bool { return k6x.KindOf(err) == k6x.Canceled }},
	} {
		meta, ctx := metaOf(t, linux, one), ctx
		if name != "canceled" {
			ctx = t.Context()
		}
		if b, err := d.Add(ctx, meta, c.fill); err == nil || !c.want(err) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		wantTidy(t, d, 0)
	}
	mustAdd(t, d, one, "binary")
}

func TestWhatIsNoBinaryTouchesNoFile(t *testing.T) {
	d := newDir(t, Config{})
	for name, change := range map[string]func(*Meta){
		"no k6":             func(m *Meta) { delete(m.Versions, "k6") },
		"no versions":       func(m *Meta) { m.Versions = nil },
		"a range":           func(m *Meta) { m.Versions["k6"] = ">=1" },
		"no v":              func(m *Meta) { m.Versions["k6"] = "1.8.1" },
		"a bad name":        func(m *Meta) { m.Versions["../x"] = "v1.0.0" },
		"no platform":       func(m *Meta) { m.Platform = k6x.Platform{} },
		"a path":            func(m *Meta) { m.Platform.OS = "../x" },
		"a slash too many":  func(m *Meta) { m.Platform.Arch = "amd64/x" },
		"an endless source": func(m *Meta) { m.Source = strings.Repeat("x", 1<<20) },
	} {
		meta := metaOf(t, linux, one)
		change(&meta)
		if _, err := d.Add(t.Context(), meta, never(t)); k6x.KindOf(err) == k6x.Internal || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(d.Path()); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestManyAtOnceMakeOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bin")
	var made, waited atomic.Int32
	begun, all := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	for range 10 {
		d := newDir(t, Config{Dir: dir, Waiting: func() {
			if waited.Add(1) == 9 {
				close(all)
			}
		}})
		done.Go(func() {
			b, err := d.Add(context.Background(), metaOf(t, linux, one), func(f *os.File) error {
				if made.Add(1) == 1 {
					close(begun)
				}
				<-all
				return write("binary")(f)
			})
			if err != nil {
				t.Error(err)
				return
			}
			wantBody(t, b, "binary")
		})
	}
	<-begun
	impatient, cancel := context.WithCancel(t.Context())
	d := newDir(t, Config{Dir: dir, Waiting: cancel})
	if _, err := d.Add(impatient, metaOf(t, linux, one), never(t)); k6x.KindOf(err) != k6x.Canceled {
		t.Error(err)
	}
	done.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
	wantTidy(t, d, 1)
}

func TestWhatCannotBeReadIsReplaced(t *testing.T) {
	for name, damage := range map[string]func(home string) error{
		"no record":        func(home string) error { return os.Remove(filepath.Join(home, recordName)) },
		"half a record":    func(home string) error { return os.Truncate(filepath.Join(home, recordName), 40) },
		"no lock":          func(home string) error { return os.Remove(filepath.Join(home, lockName)) },
		"no binary":        func(home string) error { return os.Remove(filepath.Join(home, "k6")) },
		"a damaged binary": func(home string) error { return os.WriteFile(filepath.Join(home, "k6"), []byte("binarY"), 0o755) },
	} {
		d := newDir(t, Config{})
		b := mustAdd(t, d, one, "binary")
		if err := damage(filepath.Dir(b.Path)); err != nil {
			t.Fatal(err)
		}
		made := false
		b, err := d.Add(t.Context(), metaOf(t, linux, one), func(f *os.File) error { made = true; return write("binary")(f) })
		if err != nil || !made {
			t.Errorf("%s: %v, made again: %v", name, err, made)
			continue
		}
		wantBody(t, b, "binary")
		wantTidy(t, d, 1)
	}
}

func TestADirectoryThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := newDir(t, Config{Dir: filepath.Join(file, "bin")})
	if _, err := d.Add(t.Context(), metaOf(t, linux, one), never(t)); k6x.KindOf(err) != k6x.Internal || !strings.Contains(err.Error(), "directory of binaries") {
		t.Error(err)
	}
	if _, ok := d.Find(t.Context(), linux, list(t, "k6")); ok {
		t.Error("found")
	}
}
