package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRequestsAreTracedAndTokensAreNot(t *testing.T) {
	got := make(chan []byte, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- append([]byte(r.URL.Path+" "), body...)
	}))
	t.Cleanup(collector.Close)
	tracing, err := newTracing(t.Context(), collector.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/build", nil)
	r.Header.Set("Authorization", "Bearer very-secret")
	tracing.wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	tracing.close()
	select {
	case sent := <-got:
		if !bytes.HasPrefix(sent, []byte("/v1/traces ")) || !bytes.Contains(sent, []byte("k6build")) || bytes.Contains(sent, []byte("secret")) {
			t.Errorf("sent %q", sent)
		}
	default:
		t.Error("nothing was sent")
	}
}
