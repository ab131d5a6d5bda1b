package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/internal/testmod"
	"k6x/service"
)

// log is what a service logs.
type log struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run runs a service until the test ends.
func run(t *testing.T, o Options) (base string, logged *log) {
	t.Helper()
	o.Addr, o.CacheDir, o.MaxBuilds, o.ShutdownTimeout = "127.0.0.1:0", cmp.Or(o.CacheDir, t.TempDir()), 1, 5*time.Second
	if o.Registries == nil {
		o.Registries = []string{"../../../testdata/registry.json"}
	}
	if o.Env == nil {
		o.Env = []string{"GOPROXY=" + testmod.Serve(t, "../../../testdata/standin"), "GOSUMDB=off"}
	}
	ctx, stop := context.WithCancel(context.Background())
	logged = &log{}
	logger, err := cli.Logger(logged, slog.LevelInfo, "json")
	if err != nil {
		t.Fatal(err)
	}
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := Run(ctx, o, logger, write)
		write.CloseWithError(errors.Join(errors.New("it ended"), err))
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", logged)
		}
	})
	line := make([]byte, 4096)
	n, err := read.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	return regexp.MustCompile(`http://\S+`).FindString(string(line[:n])), logged
}

func get(t *testing.T, url string) (status int, body string, header http.Header) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// eventually waits for something that takes a moment.
func eventually(t *testing.T, happens func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !happens(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

func TestFirstLineOfTheLogSaysWhatThisServiceIs(t *testing.T) {
	t.Parallel()
	registry := httptest.NewServer(http.FileServer(http.Dir("../../../testdata")))
	t.Cleanup(registry.Close)
	at := strings.Replace(registry.URL, "//", "//user:hunter2@", 1) + "/registry.json?token=hunter2"
	base, logged := run(t, Options{Store: "mem://", Registries: []string{at}})
	first, _, _ := strings.Cut(logged.String(), "\n")
	var line map[string]any
	if err := json.Unmarshal([]byte(first), &line); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "store", "registries", "builds", "sandbox"} {
		if line[key] == nil || line[key] == "" {
			t.Errorf("it does not say %s: %s", key, first)
		}
	}
	if line["store"] != "mem:" && line["store"] != "mem://" {
		t.Errorf("the store is %v", line["store"])
	}
	get(t, base+"/linux/amd64/k6/x/nothing")
	eventually(t, func() bool { return strings.Contains(logged.String(), `"msg":"request"`) })
	if text := logged.String(); strings.Contains(text, "hunter2") || strings.Contains(text, `"duration":`) || !strings.Contains(text, `"duration_s":0.`) {
		t.Errorf("the log has secrets, or durations without a unit:\n%s", text)
	}
}

// metric returns the value of a line of the metrics.
func metric(t *testing.T, base, name string) string {
	t.Helper()
	_, text, _ := get(t, base+"/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Errorf("no metric %s", name)
	return ""
}

func TestMetricsForAnOperator(t *testing.T) {
	t.Parallel()
	base, _ := run(t, Options{StoreSize: 1 << 30, GoCacheSize: 2 << 30, Queue: 7})
	get(t, base+"/linux/amd64/k6@v9.9.9") // looked up, but not built
	for name, want := range map[string]string{
		`k6x_builds_total{result="success"}`: "0", `k6x_builds_total{result="failure"}`: "0", "k6x_store_limit_bytes": "1.073741824e+09",
		`k6x_go_cache_limit_bytes{cache="build"}`: "2.147483648e+09", `k6x_go_cache_bytes{cache="module"}`: "", "k6x_queue_limit": "7",
		"k6x_queue_oldest_seconds": "0", `k6x_disk_free_bytes{directory="cache"}`: "", `k6x_store_requests_total{operation="open",place="directory"}`: "",
		`k6x_store_request_duration_seconds_count{operation="open",place="directory"}`: "",
	} {
		if runtime.GOOS == "openbsd" && strings.Contains(name, "disk") {
			continue
		}
		if got := metric(t, base, name); got == "" || want != "" && got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if _, text, _ := get(t, base+"/metrics"); !regexp.MustCompile(`(?m)^k6x_build_info\{.*version=".+"\} 1$`).MatchString(text) {
		t.Error("no build information")
	}
}

// parts returns which parts of a service do not work.
func parts(t *testing.T, base string) (failing []string, body string) {
	t.Helper()
	status, text, _ := get(t, base+"/ready")
	var answer struct {
		Ready   bool
		Message string
		Parts   []service.Part
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK || !answer.Ready {
		t.Errorf("%d: what is at hand is not served any more\n%s", status, text)
	}
	for _, p := range answer.Parts {
		if !p.Works {
			failing = append(failing, p.Name)
			if p.Message == "" || !strings.Contains(answer.Message, p.Message) || p.Since.IsZero() {
				t.Errorf("nothing is said of %s:\n%s", p.Name, text)
			}
		}
	}
	return failing, text
}

// A bucket that stops to accept the credentials is told apart from one that is away, and found again.
func TestReadyNamesTheStoreThatFails(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "someone")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	var code atomic.Value // of what the bucket refuses with
	code.Store("")
	var mu sync.Mutex // guards objects
	objects := map[string][]byte{}
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := code.Load().(string); code != "" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>because</Message></Error>", code)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		body, there := objects[r.URL.Path]
		switch {
		case r.Method == http.MethodPut:
			objects[r.URL.Path], _ = io.ReadAll(r.Body)
			w.Header().Set("Etag", `"x"`)
		case r.Method == http.MethodDelete:
			delete(objects, r.URL.Path)
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Query().Has("list-type"):
			io.WriteString(w, "<ListBucketResult></ListBucketResult>")
		case there:
			w.Header().Set("Etag", `"x"`)
			w.Header().Set("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
			w.Write(body)
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
		}
	}))
	t.Cleanup(bucket.Close)
	base, _ := run(t, Options{Store: "s3://bucket?region=us-east-1&s3ForcePathStyle=true&endpoint=" + url.QueryEscape(bucket.URL)})
	if failing, body := parts(t, base); failing != nil {
		t.Fatalf("%v fail\n%s", failing, body)
	}
	code.Store("ExpiredToken")
	status, text, header := get(t, base+"/linux/amd64/k6@v1.0.0")
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "have expired") || strings.Contains(text, "does not answer") {
		t.Errorf("%d: %s", status, text)
	}
	if header.Get("Retry-After") != "60" || !strings.Contains(text, "Try again in a minute.") {
		t.Errorf("Retry-After: %s, and in words %s", header.Get("Retry-After"), text)
	}
	eventually(t, func() bool { failing, _ := parts(t, base); return slices.Equal(failing, []string{"store"}) })
	if _, body := parts(t, base); !strings.Contains(body, "have expired") {
		t.Error(body)
	}
	if got := metric(t, base, `k6x_up{part="store"}`); got != "0" {
		t.Errorf("k6x_up is %s", got)
	}
	if got := metric(t, base, `k6x_store_errors_total{kind="expired",operation="open",place="bucket"}`); got == "0" || got == "" {
		t.Errorf("%s errors are counted", got)
	}
	code.Store("")
	eventually(t, func() bool { failing, _ := parts(t, base); return failing == nil })
	if got := metric(t, base, `k6x_up{part="store"}`); got != "1" {
		t.Errorf("k6x_up is %s", got)
	}
}

func TestReadyNamesARegistryThatIsAway(t *testing.T) {
	t.Parallel()
	base, _ := run(t, Options{Store: "mem://", Registries: []string{"../../../testdata/registry.json", "http://127.0.0.1:1/registry.json"}})
	eventually(t, func() bool { failing, _ := parts(t, base); return slices.Equal(failing, []string{"registries"}) })
	if got := metric(t, base, `k6x_up{part="registries"}`); got != "0" {
		t.Errorf("k6x_up is %s", got)
	}
}

func TestADiskThatCannotBeWrittenToIsNamedWithoutItsPath(t *testing.T) {
	dir := t.TempDir()
	if err := checkDisk(directory{"cache", dir}); err != nil && k6x.KindOf(err) != k6x.NoSpace { // this machine's may be full
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left is %v, %v", left, err)
	}
	if err := checkDisk(directory{"store", filepath.Join(dir, "gone")}); err == nil || strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "store directory") {
		t.Errorf("got %v", err)
	}
}

// A check that hangs is a failure, of its part only, and no other check of that part is begun.
func TestACheckThatHangsIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := health{logger: slog.New(slog.DiscardHandler)}
		hung, begun := make(chan struct{}), 0
		h.add("disk", checkEvery, func(context.Context, bool) error { begun++; <-hung; return nil })
		h.add("go", checkEvery, func(context.Context, bool) error { return nil })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { h.run(ctx); close(ended) }()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if disk, goCommand := h.Parts()[0], h.Parts()[1]; disk.Works || !goCommand.Works || begun != 1 || !strings.Contains(disk.Message, "disk") {
			t.Errorf("disk %+v, go %+v, begun %d times", disk, goCommand, begun)
		}
		close(hung)
		time.Sleep(time.Minute)
		if disk := h.Parts()[0]; !disk.Works || !disk.Since.IsZero() {
			t.Errorf("%+v", disk)
		}
		cancel()
		<-ended
	})
}

// What /status tells of a real service comes from all of its parts.
func TestStatusOfAService(t *testing.T) {
	base, _ := run(t, Options{Store: "mem://", StoreSize: 1 << 30, GoCacheSize: 5 << 30, Queue: 7, BuildTimeout: time.Minute})
	code, body, _ := get(t, base+"/status")
	var status service.Status
	if err := json.Unmarshal([]byte(body), &status); err != nil || code != http.StatusOK {
		t.Fatalf("%d %v %s", code, err, body)
	}
	if s := status; s.Queue.Limit != 7 || len(s.Stores) != 1 || s.Stores[0].Limit != 1<<30 || len(s.Caches) != 2 || s.Caches[0].Limit != 5<<30 || len(s.Parts) != 4 ||
		len(s.Disks) == 0 && runtime.GOOS != "windows" || s.Pools[0].Slots != 1 || s.Pools[0].Workers[0].State != "idle" || s.Service == "" || len(s.Registries) == 0 ||
		s.Version.Go[0] == "" || s.Version.Limits.Queue != 7 {
		t.Errorf("%s", body)
	}
	for _, c := range status.Caches {
		if c.Counted {
			t.Errorf("nobody counts what is found in the cache %s", c.Name)
		}
	}
	base, _ = run(t, Options{Store: "mem://", BuildCache: "file://" + t.TempDir()})
	_, body, _ = get(t, base+"/status")
	if err := json.Unmarshal([]byte(body), &status); err != nil || len(status.Caches) != 3 || status.Caches[0].Name != "build" || !status.Caches[0].Counted || status.Caches[1].Counted || !status.Caches[2].Counted {
		t.Errorf("with a build cache that machines share: %v %s", err, body)
	}
}
