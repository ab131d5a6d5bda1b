package pages_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"k6x/cache"
	"k6x/internal/chromiumtest"
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
	if err := p.Render(new(bytes.Buffer), pages.Page{Name: "none"}); err == nil {
		t.Error("a page that is not there is rendered")
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
