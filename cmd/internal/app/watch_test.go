package app

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"k6x/cache/blob/blobtest"
	"k6x/history"
	"k6x/internal/testmod"
)

const standin = "../../../testdata/standin/"

// growing is a module proxy that can be given other modules.
func growing(t *testing.T) (at string, serve func(url string)) {
	t.Helper()
	var now atomic.Pointer[url.URL]
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(now.Load())
	}})
	t.Cleanup(proxy.Close)
	return proxy.URL, func(at string) {
		u, err := url.Parse(at)
		if err != nil {
			t.Error(err)
		}
		now.Store(u)
	}
}

// receiver is one of webhooks: it returns its URL, a file with the secret, and the numbers of entries that come with a good signature.
func receiver(t *testing.T) (url, secrets string, taken <-chan int64) {
	t.Helper()
	secret := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	secrets = filepath.Join(t.TempDir(), "secret")
	checker, err := standardwebhooks.NewWebhook(secret)
	if err = errors.Join(err, os.WriteFile(secrets, []byte(secret+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	numbers := make(chan int64, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var n history.Numbered
		if err = errors.Join(err, checker.Verify(body, req.Header), json.Unmarshal(body, &n)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		numbers <- n.Number
	}))
	t.Cleanup(server.Close)
	return server.URL, secrets, numbers
}

// news returns what /changes tells, in short.
func news(t *testing.T, base string) (words []string) {
	t.Helper()
	_, body, _ := get(t, base+"/changes")
	for line := range strings.Lines(body) {
		var n history.Numbered
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		word := n.Name + "@" + n.Version
		if r := n.Result; r != nil {
			last := r.Modules[len(r.Modules)-1]
			word = strings.TrimSpace(last.Name + "@" + last.Version + " " + string(r.Outcome) + " " + r.Kind)
		}
		words = append(words, word)
	}
	return words
}

// until waits for so many entries of /changes.
func until(t *testing.T, base string, count int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); len(news(t, base)) < count; get(t, base+"/changes?wait=1s&since="+strconv.Itoa(len(news(t, base)))) {
		if time.Now().After(end) {
			t.Fatalf("after two minutes there is %q", news(t, base))
		}
	}
}

func TestANewVersionIsBuiltAndTold(t *testing.T) {
	t.Parallel()
	newVersions(t, "mem://", 1)
}

func TestServicesOnOneBucketBuildAndTellOfANewVersionOnce(t *testing.T) {
	at := url.QueryEscape("http://" + blobtest.Versity(t))
	t.Setenv("AWS_ACCESS_KEY_ID", blobtest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", blobtest.SecretKey)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	newVersions(t, "s3://"+blobtest.BucketName+"?region=us-east-1&s3ForcePathStyle=true&endpoint="+at, 2)
}

// newVersions publishes versions that services on a store watch, one of which does not build.
func newVersions(t *testing.T, store string, services int) {
	hook, secrets, taken := receiver(t)
	at, serve := growing(t)
	files := []string{standin + "go.k6.io_k6_v1.1.0.txtar", standin + "example.com_xk6-hello_v0.1.0.txtar"}
	first := testmod.ServeFiles(t, nil, files...)
	dir := t.TempDir()
	registry := filepath.Join(dir, "registry.json")
	entries := `[{"module":"go.k6.io/k6","imports":["k6"]}, {"module":"example.com/xk6-hello","imports":["k6/x/hello"]}]`
	if err := os.WriteFile(registry, []byte(entries), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(first)
	var base string
	var logged *log
	for range services {
		cacheDir := warmDir(t)
		base, logged = run(t, Options{
			Store: store, CacheDir: cacheDir, Registries: []string{registry}, GoOptions: GoOptions{Env: []string{"GOPROXY=" + at, "GOSUMDB=off"}},
			Watch:    WatchOptions{On: true, Interval: time.Second, Backfill: 1, Extensions: []string{"k6/x/*"}},
			Webhooks: []string{hook + "/?token=hunter2"}, WebhookSecretFile: secrets,
		})
	}
	until(t, base, 4)
	const ext = "-- ext.go --\npackage hello\n\nimport \"go.k6.io/k6/js/modules\"\n\ntype Module struct{}\n\nfunc init() { modules.Register(\"k6/x/hello\", new(Module)) }\n"
	const mod = "-- go.mod --\nmodule example.com/xk6-hello\n\ngo 1.21\n\nrequire go.k6.io/k6 v1.0.0\n"
	serve(testmod.ServeFiles(t, map[string]string{
		"example.com/xk6-hello@v0.3.0": mod + ext + "\nvar _ = fortyTwo\n",
		"example.com/xk6-hello@v0.4.0": mod + ext,
	}, append(files, standin+"go.k6.io_k6_v1.0.0.txtar")...))
	until(t, base, 10)
	want := []string{
		"k6/x/hello@v0.1.0", "k6/x/hello@v0.1.0 built", "k6/x/hello@v0.3.0", "k6/x/hello@v0.3.0 failed build_failed",
		"k6/x/hello@v0.4.0", "k6/x/hello@v0.4.0 built", "k6@v1.0.0", "k6@v1.0.0 built", "k6@v1.1.0", "k6@v1.1.0 built",
	}
	if got := slices.Sorted(slices.Values(news(t, base))); !slices.Equal(got, want) {
		t.Errorf("the news are\n%q, want\n%q", got, want)
	}
	for number := range int64(10) {
		if got := <-taken; got != number+1 {
			t.Errorf("the receiver got entry %d, want %d", got, number+1)
		}
	}
	if len(taken) > 0 {
		t.Errorf("the receiver got entry %d once more", <-taken)
	}
	if strings.Contains(logged.String(), "hunter2") {
		t.Error("the URL of the webhook is in the log")
	}
	if status, _, _ := get(t, base+"/matrix?k6=v1.1.0"); status != http.StatusOK {
		t.Errorf("got %d", status)
	}
}
