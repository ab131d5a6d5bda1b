package pages_test

import (
	"bytes"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k6x/internal/chromiumtest"
	"k6x/service/pages"
)

var screenshots = flag.Bool("screenshots", false, "keep pictures of all pages in all states in testdata/screenshots")

// shots is where pictures are kept; git ignores it.
const shots = "testdata/screenshots"

// serveStates serves each state at its name.
func serveStates(t *testing.T) string {
	t.Helper()
	p := newPages(t, "")
	mux := http.NewServeMux()
	for _, s := range states() {
		mux.HandleFunc("GET /"+s.name, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "text/html; charset=utf-8")
			h.Set("Content-Security-Policy", pages.Policy)
			if err := p.Render(w, s.page); err != nil {
				t.Error(err)
			}
		})
	}
	mux.HandleFunc("GET /assets/{digest}/{name}", func(w http.ResponseWriter, r *http.Request) {
		if !p.Asset(w, r, r.PathValue("digest"), r.PathValue("name")) {
			http.NotFound(w, r)
		}
	})
	mux.HandleFunc("GET /builds/{id}/log", func(w http.ResponseWriter, _ *http.Request) {
		for i, line := range append(compilerWords, evil...) {
			_, _ = w.Write([]byte("\x1b[3" + string(rune('0'+i%8)) + "m" + line + "\x1b[0m\n"))
		}
	})
	mux.HandleFunc("GET /builds/{id}/events", func(w http.ResponseWriter, r *http.Request) { // a build that goes on
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("GET /{name}/events", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/builds/x/events", http.StatusSeeOther)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.URL
}

// Every page is accessible, keeps to the policy, and fits its window, in every state, light and dark, from a phone to a wide screen.
// With -screenshots there is a picture of each.
func TestLooks(t *testing.T) {
	t.Parallel()
	url := serveStates(t)
	if *screenshots {
		if err := os.MkdirAll(shots, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := chromiumtest.New(t)
	shot := func(name string, all bool) {
		if *screenshots {
			b.Shot(filepath.Join(shots, name+".png"), all)
		}
	}
	for _, s := range states() {
		b.Scheme("light")
		b.Size(1440, 900)
		b.Open(url + "/" + s.name)
		if s.name == "build-failed" || s.name == "build-hostile" {
			b.Wait("document.querySelectorAll('.log-line').length > 5")
		}
		b.Accessible(s.name)
		shot(s.name+"-light", true)
		if s.name == "picker-chosen" || s.name == "status-well" { // for the README
			b.Size(1200, 860)
			shot("readme-"+s.name, false)
		}
		for _, width := range []int64{1440, 768, 360} {
			b.Size(width, 900)
			if words := b.Overflow(); words != "" {
				t.Errorf("%s at %d: %s", s.name, width, words)
			}
		}
		b.Scheme("dark") // all else does not depend on colours and width
		b.Accessible(s.name+", dark", "color-contrast", "target-size", "scrollable-region-focusable")
		shot(s.name+"-dark", true)
		if title := chromiumtest.Eval[string](b, "document.title"); title == "owned" {
			t.Errorf("%s: text of a stranger ran", s.name)
		}
		b.Clean(s.name)
	}
}

// The HTML of each state and the stylesheet are valid.
func TestValid(t *testing.T) {
	t.Parallel()
	jar := chromiumtest.FromNPM(t, "vnu-jar/build/dist/vnu.jar")
	if _, err := exec.LookPath("java"); err != nil {
		chromiumtest.Missing(t, "java")
	}
	dir := t.TempDir()
	p := newPages(t, "/k6x")
	for _, s := range states() {
		var body bytes.Buffer
		if err := p.Render(&body, s.page); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, s.name+".html"), body.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	style, err := os.ReadFile("assets/app.css")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "app.css"), style, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("java", "-Xss16m", "-XX:TieredStopAtLevel=1", "-jar", jar, "--also-check-css", "--format", "gnu", dir).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		lines := strings.Split(strings.ReplaceAll(string(out), "file:"+dir+"/", ""), "\n")
		t.Errorf("%v:\n%s", err, strings.Join(lines[:min(40, len(lines))], "\n"))
	}
}
