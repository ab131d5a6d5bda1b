package app

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"k6x/internal/testmod"
)

func TestMetricsCountWhatGoBuildRefuted(t *testing.T) {
	a, err := New(t.Context(), Options{
		CacheDir: t.TempDir(), Registries: []string{"../../../testdata/registry.json"}, MaxBuilds: 1,
		GoOptions: GoOptions{Env: []string{"GOPROXY=" + testmod.Serve(t, "../../../testdata/standin"), "GOSUMDB=off"}},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	w := httptest.NewRecorder()
	a.Service.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), "\nk6x_builds_refuted_total 0\n") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestURLsInBuildEvents(t *testing.T) {
	for _, test := range []struct{ url, basePath, want string }{
		{"", "/k6x", ""},
		{"https://x/", "", "https://x"},
		{"https://x", "/k6x", "https://x/k6x"},
		{"https://x/a/", "/k6x", "https://x/a"},
		{"https://user:word@x", "", ""}, // it is wrong usage
	} {
		if got := eventsURL(Options{URL: test.url, BasePath: test.basePath}); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}
