package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const script = `import redis from "k6/x/redis";
export default function () { if (typeof redis.Client !== "function") { throw new Error("no client"); } }
`

func TestBinaryIsWhatTheURLSays(t *testing.T) {
	warmUp(t)
	a := fetch(t, start(t, world.warm()).url+host+redisList)
	version := run(t, a.body, "version")
	for _, want := range []string{"k6 v1.8.1", "github.com/grafana/xk6-redis v0.3.6", "k6/x/redis"} {
		if !strings.Contains(version, want) {
			t.Errorf("k6 version does not say %q:\n%s", want, version)
		}
	}
	file := filepath.Join(t.TempDir(), "script.js")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, a.body, "run", "--quiet", file)
	if found := leftovers(t, world.warm()); len(found) > 0 {
		t.Errorf("left over: %v", found)
	}
}

// A second service with empty caches of its own, in a directory of another depth, gives the
// same bytes. The packages of quick tests show this too, with a small k6.
func TestSecondServiceGivesTheSameBytes(t *testing.T) {
	if !nightly {
		t.Skip("SKIPPED: a second cold build is left to K6X_TEST_NIGHTLY=1")
	}
	warmUp(t)
	first := fetch(t, start(t, world.warm()).url+host+redisList)
	second := fetch(t, start(t, filepath.Join(coldDir(t), "deeper", "down")).url+host+redisList)
	if first.digest() != second.digest() {
		t.Errorf("two services give %s and %s", first.digest(), second.digest())
	}
}

func TestHeadersOfABinary(t *testing.T) {
	warmUp(t)
	s := start(t, world.warm())
	url := s.url + host + redisList
	a := fetch(t, url)
	for name, want := range map[string]string{
		"Content-Type":           "application/octet-stream",
		"Content-Disposition":    `attachment; filename="k6"`,
		"Cache-Control":          "public, max-age=31536000, immutable",
		"Accept-Ranges":          "bytes",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Etag", "Last-Modified", "Content-Length", "Repr-Digest"} {
		if a.header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	head, err := try(t.Context(), http.MethodHead, url)
	if err != nil || head.status != http.StatusOK || len(head.body) != 0 || head.header.Get("Content-Length") != a.header.Get("Content-Length") {
		t.Errorf("HEAD: %d, length %s, %v", head.status, head.header.Get("Content-Length"), err)
	}
	if got := get(t, url, "If-None-Match: "+a.header.Get("Etag")); got.status != http.StatusNotModified || len(got.body) != 0 {
		t.Errorf("If-None-Match: %d with %d bytes", got.status, len(got.text()))
	}
	part := get(t, url, "Range: bytes=1000-1999", "If-Range: "+a.header.Get("Etag"))
	if part.status != http.StatusPartialContent || string(part.body) != string(a.body[1000:2000]) {
		t.Errorf("Range: %d with %d bytes", part.status, len(part.body))
	}
}

func TestWhatIsNotCanonicalIsRedirected(t *testing.T) {
	warmUp(t)
	s := start(t, world.warm())
	for path, want := range map[string]struct {
		status   int
		location string
		cache    string
	}{
		"k6/x/redis":                        {307, redisList, "no-cache, no-store"},
		"k6":                                {307, "k6@v1.8.1", "no-cache, no-store"},
		"k6@%5E1.8,k6/x/redis@%3E=0.3":      {307, redisList, "no-cache, no-store"},
		"k6@v1.8.1,k6/x/redis@latest":       {307, redisList, "no-cache, no-store"},
		"k6/x/redis@0.3.6,k6@1.8.1":         {301, redisList, "public, max-age=31536000, immutable"},
		"k6%40v1.8.1%2Ck6/x/redis%40v0.3.6": {301, redisList, "public, max-age=31536000, immutable"},
		"k6@v1.8.1,k6/x/redis@v0.3.6,k6/x/redis@v0.3.6": {301, redisList, "public, max-age=31536000, immutable"},
	} {
		got := get(t, s.url+host+path)
		if got.status != want.status || got.header.Get("Location") != host+want.location || got.header.Get("Cache-Control") != want.cache {
			t.Errorf("%s: %d to %s (%s), want %d to %s (%s)", path, got.status, got.header.Get("Location"), got.header.Get("Cache-Control"),
				want.status, want.location, want.cache)
		}
	}
	if got := get(t, s.url+"/"+host+redisList); got.status != 301 && got.status != 200 {
		t.Errorf("a doubled slash: %d", got.status)
	}
}

func TestCurlGetsAndResumes(t *testing.T) {
	curl := program(t, "curl")
	warmUp(t)
	s := start(t, world.warm())
	want := fetch(t, s.url+host+redisList)
	dir := t.TempDir()
	do := func(args ...string) {
		t.Helper()
		cmd := exec.Command(curl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	check := func() {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(dir, "k6"))
		if err != nil {
			t.Fatal(err)
		}
		if (answer{body: got}).digest() != want.digest() {
			t.Errorf("curl has %d other bytes", len(got))
		}
	}
	do("-fsSOJ", s.url+host+redisList)
	check()
	if err := os.Truncate(filepath.Join(dir, "k6"), 12_345_678); err != nil {
		t.Fatal(err)
	}
	do("-fsS", "-C", "-", "-o", "k6", s.url+host+redisList)
	check()
	do("-fsSL", "-o", "k6", s.url+host+"k6/x/redis")
	check()
}
