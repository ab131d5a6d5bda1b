//go:build unix

package app

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// A signal has tokens and registries read anew, and ends nothing.
func TestHangupReadsTokensAndRegistriesAgain(t *testing.T) {
	const before = `{"k6": {"module": "go.k6.io/k6", "versions": ["v1.0.0"]}}`
	var registry atomic.Value
	registry.Store(before)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(registry.Load().(string))) }))
	t.Cleanup(server.Close)
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	base, logged := run(t, Options{Store: "mem://", Registries: []string{server.URL}, AuthTokenFile: tokens})
	hangup := func() {
		t.Helper()
		times := strings.Count(logged.String(), "read again")
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return strings.Count(logged.String(), "read again") > times })
	}
	build := func(token string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/build?k6=v9.9.9&platform=linux/amd64", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	const unknown = "/linux/amd64/k6/x/hello@v9.9.9"
	if status, text, _ := get(t, base+unknown); status != http.StatusNotFound || strings.Contains(text, "v0.1.0") {
		t.Fatalf("%d: %s", status, text)
	}
	if status := build("second"); status != http.StatusUnauthorized {
		t.Fatalf("%d with a token that is not there yet", status)
	}
	registry.Store(strings.TrimSuffix(before, "}") + `, "k6/x/hello": {"module": "example.com/xk6-hello", "versions": ["v0.1.0"]}}`)
	info, err := os.Stat(tokens)
	if err == nil {
		err = os.WriteFile(tokens, []byte("secon"), 0o600) // of the same size, and time
	}
	if err == nil {
		err = os.Chtimes(tokens, info.ModTime(), info.ModTime())
	}
	if err != nil {
		t.Fatal(err)
	}
	hangup()
	if status, text, _ := get(t, base+unknown); !strings.Contains(text, "v0.1.0") {
		t.Errorf("the registry is what it was: %d: %s", status, text)
	}
	if status := build("secon"); status == http.StatusUnauthorized {
		t.Error("the tokens are what they were")
	}
	if err := os.WriteFile(tokens, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	if text := logged.String(); !strings.Contains(text, "has no token") {
		t.Errorf("nothing is said of a file without tokens:\n%s", text)
	}
}
