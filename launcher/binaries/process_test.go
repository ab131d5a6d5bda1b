package binaries_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k6x"
	"k6x/client"
	"k6x/launcher/binaries"
)

// A launcher is this test binary again, with these variables.
const (
	launcherDir  = "K6X_TEST_LAUNCHER_DIR"
	launcherBase = "K6X_TEST_LAUNCHER_BASE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(launcherDir); dir != "" {
		if err := launch(dir, os.Getenv(launcherBase)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// launch does as a launcher does: it finds a binary or fetches one, checks it, and prints its path.
func launch(dir, service string) error {
	ctx := context.Background()
	platform := k6x.Platform{OS: "linux", Arch: "amd64"}
	list, err := k6x.ParseList("k6/x/redis")
	if err != nil {
		return err
	}
	d, err := binaries.New(binaries.Config{Dir: dir})
	if err != nil {
		return err
	}
	found, ok := d.Find(ctx, platform, list)
	if !ok {
		base, err := client.ParseBase(service)
		if err != nil {
			return err
		}
		c := &client.Client{Base: base}
		pinned, err := c.Resolve(ctx, platform, list)
		if err != nil {
			return err
		}
		meta := binaries.Meta{Platform: platform, Versions: map[string]string{}, Source: service}
		for _, dep := range pinned {
			meta.Versions[dep.Name] = dep.Constraint.Version()
		}
		found, err = d.Add(ctx, meta, func(file *os.File) error {
			_, err := c.Fetch(ctx, platform, pinned, file)
			return err
		})
		if err != nil {
			return err
		}
	}
	release, err := d.Use(ctx, found)
	if err != nil {
		return err
	}
	defer release()
	fmt.Println(found.Path)
	return nil
}

// service serves one binary; get is called with each download of it.
func service(t *testing.T, data []byte, get func(w http.ResponseWriter, r *http.Request) (done bool)) string {
	t.Helper()
	const canonical = "/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6"
	sum := sha256.Sum256(data)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != canonical {
			http.Redirect(w, r, canonical, http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Etag", fmt.Sprintf(`"%x"`, sum))
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		if r.Method == http.MethodGet && get(w, r) {
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func launcher(t *testing.T, dir, base string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), launcherDir+"="+dir, launcherBase+"="+base)
	return cmd
}

func someBinary() []byte {
	data := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data)
	return data
}

func wantRun(t *testing.T, cmd *exec.Cmd, data []byte) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
		return
	}
	got, err := os.ReadFile(strings.TrimSpace(string(out)))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s: %d bytes, %v", out, len(got), err)
	}
}

func TestTenLaunchersAtOnceDownloadOnce(t *testing.T) {
	data := someBinary()
	var downloads atomic.Int32
	base := service(t, data, func(http.ResponseWriter, *http.Request) bool { downloads.Add(1); return false })
	dir := filepath.Join(t.TempDir(), "bin")
	var done sync.WaitGroup
	for range 10 {
		done.Go(func() { wantRun(t, launcher(t, dir, base), data) })
	}
	done.Wait()
	if n := downloads.Load(); n != 1 {
		t.Errorf("%d downloads", n)
	}
	wantRun(t, launcher(t, dir, "http://nobody.invalid"), data) // without the service
}

// A launcher that is killed in mid-download leaves nothing that the next would take for a binary,
// and nothing for ever.
func TestAKilledDownloadIsRecovered(t *testing.T) {
	data := someBinary()
	halfway := make(chan struct{})
	var downloads atomic.Int32
	base := service(t, data, func(w http.ResponseWriter, r *http.Request) bool {
		if downloads.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		close(halfway)
		<-r.Context().Done()
		return true
	})
	dir := filepath.Join(t.TempDir(), "bin")
	victim := launcher(t, dir, base)
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	<-halfway
	waiting := launcher(t, dir, base) // for the one that will be killed
	waited := make(chan struct{})
	go func() { defer close(waited); wantRun(t, waiting, data) }()
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed
	<-waited
	wantRun(t, launcher(t, dir, base), data)
	if n := downloads.Load(); n != 2 {
		t.Errorf("%d downloads", n)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".work", "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// What a killed launcher left is removed also if nobody asks for that binary any more.
func TestLeftoversOfOtherBinariesAreSweptAndThoseBeingMadeAreNot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bin")
	open := func() *binaries.Dir {
		d, err := binaries.New(binaries.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	add := func(version string, fill func(*os.File) error) {
		t.Helper()
		meta := binaries.Meta{Platform: k6x.Platform{OS: "linux", Arch: "amd64"}, Versions: map[string]string{"k6": version}}
		if _, err := open().Add(t.Context(), meta, fill); err != nil {
			t.Error(err)
		}
	}
	leftover := filepath.Join(dir, ".work", "tmp", strings.Repeat("ab", 16))
	if err := os.MkdirAll(filepath.Join(leftover, "k6"), 0o755); err != nil {
		t.Fatal(err)
	}
	add("v1.0.1", func(first *os.File) error {
		add("v1.0.2", func(second *os.File) error { _, err := second.WriteString("two"); return err })
		if _, err := open().Prune(t.Context(), 0); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(first.Name()); err != nil {
			t.Errorf("swept while it is made: %v", err)
		}
		_, err := first.WriteString("one")
		return err
	})
	if _, err := os.Stat(leftover); !os.IsNotExist(err) {
		t.Errorf("not swept: %v", err)
	}
}
