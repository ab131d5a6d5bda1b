package pages_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x/cache"
	"k6x/history"
	"k6x/internal/chromiumtest"
	"k6x/service"
	"k6x/service/pages"
)

func newPages(t testing.TB, base string) *pages.Pages {
	t.Helper()
	p, err := pages.New(pages.Config{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every page renders in every state, with all its links below the base path, and without code or style of its own.
func TestStatesRender(t *testing.T) {
	p := newPages(t, "/k6x")
	for _, s := range states() {
		var body bytes.Buffer
		if err := p.Render(&body, s.page); err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		for _, bad := range []string{"<style", " style=", "<script>", " onclick", "ZgotmplZ", "%!", `href="/assets`, `href="/b`, `href="/m`, `action="/b`, `action="/m`} {
			if strings.Contains(body.String(), bad) {
				t.Errorf("%s has %q", s.name, bad)
			}
		}
	}
	for _, query := range []string{"q=100%", "x=%zz", "a;b", strings.Repeat("%", 1000)} {
		for _, s := range states() {
			s.page.Query = query
			if err := p.Render(new(bytes.Buffer), s.page); err != nil {
				t.Errorf("%s with the query %.20q: %v", s.name, query, err)
			}
		}
	}
	if err := p.Render(new(bytes.Buffer), pages.Page{Name: "none"}); err == nil {
		t.Error("a page that is not there is rendered")
	}
}

// Each text is shown somewhere. Those of a kind, such as of an outcome, are found by the kind.
func TestTextsAreUsed(t *testing.T) {
	text, err := os.ReadFile("texts.en.json")
	if err != nil {
		t.Fatal(err)
	}
	var texts map[string]string
	if err := json.Unmarshal(text, &texts); err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, pattern := range []string{"templates/*", "assets/*.js", "functions.go"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(source)
		}
	}
	for key := range texts {
		whole := strings.TrimSuffix(strings.TrimSuffix(key, ".one"), ".other")
		kind := key[:strings.LastIndex(key, ".")+1]
		if script, ok := strings.CutPrefix(key, "js."); ok {
			whole, kind = script, "-"
		}
		if !strings.Contains(sources.String(), `"`+key+`"`) && !strings.Contains(sources.String(), `"`+whole+`"`) && (kind == "" || !strings.Contains(sources.String(), `(print "`+kind+`"`)) {
			t.Errorf("the text %s is shown nowhere", key)
		}
	}
}

// Words and units are those of the texts, and nothing else says them.
func TestWordsAndUnitsAreTexts(t *testing.T) {
	french := pages.Texts{"unit.GB": "%s Go", "js.minutes": "%s mn %s s", "problem": "%s de %s depuis %s, %s fois"}
	if got, want := french.Say("problem", pages.Bytes(1_500_000_000), "cache", history.Seconds(90*time.Second), 12_000), "1.5 Go de cache depuis 1 mn 30 s, 12\u202f000 fois"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p := newPages(t, "")
	var status bytes.Buffer
	if err := p.Render(&status, pages.Page{Name: "status", Data: &service.Status{Problems: []service.Trouble{
		{Kind: "queue", Code: "queue_full", Values: []any{7}, Message: "words of JSON", Hint: "words of JSON"}, {Kind: "store", Code: "store", Message: "the bucket is <away>"}}}}); err != nil {
		t.Fatal(err)
	}
	for words, shown := range map[string]bool{"the queue is full: 7 builds wait": true, "Raise --max-builds": true, "words of JSON": false, "the bucket is &lt;away&gt;": true, "Look at the bucket": true} {
		if strings.Contains(status.String(), words) != shown {
			t.Errorf("%q is shown: %v", words, !shown)
		}
	}
}

// An asset is there by the digest of another version, too, but is not kept then.
func TestAssets(t *testing.T) {
	p := newPages(t, "")
	for _, name := range []string{"app.css", "app.js", "icon.svg"} {
		w := httptest.NewRecorder()
		if !p.Asset(w, httptest.NewRequest("GET", "/", nil), "0123456789abcdef", name) || w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	if p.Asset(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "0123456789abcdef", "other.js") {
		t.Error("an asset that is not there is answered")
	}
}

// What came of an extension is told as it is, and not at all where it is not known.
func TestOutcomesOfExtensions(t *testing.T) {
	p := newPages(t, "")
	for outcome, words := range map[string]string{"": "", "untried": "not built here yet", "built": "builds here", "failed": "fails here", "differs": "gives other bytes", "running": "is being built"} {
		picker := pickerState(0)
		picker.Extensions.Extensions = picker.Extensions.Extensions[:1]
		picker.Extensions.Extensions[0].Outcome = outcome
		var body bytes.Buffer
		if err := p.Render(&body, pages.Page{Name: "picker", Data: picker}); err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(body.String(), `class="state`); has != (words != "") || !strings.Contains(body.String(), words) {
			t.Errorf("%q is not told as %q", outcome, words)
		}
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	chromiumtest.Stop()
	if shared.dir != "" {
		_ = cache.RemoveAll(shared.dir)
	}
	os.Exit(code)
}
