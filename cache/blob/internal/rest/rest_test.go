package rest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k6x/cache/blob"
)

func newClient(t *testing.T) *Client {
	t.Helper()
	transport := Transport(time.Minute)
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{
		HTTP: &http.Client{Transport: transport}, Pause: time.Millisecond, Authorize: func(*http.Request) error { return nil },
		Explain: func(_ int, _ http.Header, body []byte) blob.ServiceError {
			return blob.ServiceError{Message: string(body)}
		},
	}
}

// serve answers with each status in turn, and then with 200 and what it was sent.
func serve(t *testing.T, statuses ...int) (url string, requests *atomic.Int32) {
	t.Helper()
	requests = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		if n <= len(statuses) {
			if statuses[n-1] == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(statuses[n-1])
			io.WriteString(w, "no")
			return
		}
		io.Copy(w, r.Body)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func TestRequestsAreTriedAgain(t *testing.T) {
	for _, c := range []struct {
		statuses []int
		requests int32
		want     error // nil: it works
	}{
		{nil, 1, nil},
		{[]int{503}, 2, nil},
		{[]int{0, 500}, 3, nil},
		{[]int{429, 408}, 3, nil},
		{[]int{503, 503, 503, 503, 503, 503, 503}, 8, nil},
		{[]int{500, 500, 500, 500, 500, 500, 502, 504}, 8, &blob.ServiceError{Status: 504, Message: "no"}},
		{[]int{404}, 1, fs.ErrNotExist},
		{[]int{412}, 1, fs.ErrExist},
		{[]int{401}, 1, fs.ErrPermission},
		{[]int{403}, 1, fs.ErrPermission},
		{[]int{507}, 1, blob.ErrFull},
	} {
		url, requests := serve(t, c.statuses...)
		response, err := newClient(t).Do(t.Context(), Request{
			Method: http.MethodPut, URL: url, Body: func() io.Reader { return strings.NewReader("body") }, Size: 4,
		})
		if n := requests.Load(); n != c.requests {
			t.Errorf("%v: %d requests, want %d", c.statuses, n, c.requests)
		}
		if e, ok := c.want.(*blob.ServiceError); ok {
			if got, ok := errors.AsType[*blob.ServiceError](err); !ok || *got != *e {
				t.Errorf("%v: got %v, want %v", c.statuses, err, e)
			}
			continue
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%v: got %v, want %v", c.statuses, err, c.want)
		}
		if err == nil {
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if string(body) != "body" || err != nil {
				t.Errorf("%v: the last try sent %q, %v", c.statuses, body, err)
			}
		}
	}
}

func TestTryingAgainEndsWithTheContext(t *testing.T) {
	url, requests := serve(t, 503, 503, 503)
	client := newClient(t)
	client.Pause = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	client.Explain = func(int, http.Header, []byte) blob.ServiceError { cancel(); return blob.ServiceError{} }
	if _, err := client.Do(ctx, Request{Method: http.MethodGet, URL: url}); !errors.Is(err, context.Canceled) && requests.Load() != 1 {
		t.Errorf("got %v after %d requests", err, requests.Load())
	}
}

// A file of credentials that is missing is not a blob that is.
func TestCredentialsThatFailAreNoMissingBlob(t *testing.T) {
	url, _ := serve(t)
	client := newClient(t)
	tries := 0
	client.Authorize = func(*http.Request) error { tries++; return fs.ErrNotExist }
	if _, err := client.Do(t.Context(), Request{Method: http.MethodGet, URL: url}); err == nil || errors.Is(err, fs.ErrNotExist) || tries != 3 {
		t.Errorf("got %v after %d tries", err, tries)
	}
}

func TestContextThatEndsWhileCredentialsAreFetchedIsTheError(t *testing.T) {
	url, _ := serve(t)
	client := newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	client.Authorize = func(*http.Request) error { cancel(); return errors.New("stopped") }
	if _, err := client.Do(ctx, Request{Method: http.MethodGet, URL: url}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Neither an answer nor a connection that breaks gives away what is in a URL.
func TestErrorsDoNotHaveTheQuery(t *testing.T) {
	url, _ := serve(t, 0, 0, 0, 0, 0, 0, 0, 0)
	_, err := newClient(t).Do(t.Context(), Request{Method: http.MethodGet, URL: url + "/name?sig=hunter2"})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "/name") {
		t.Errorf("got %v", err)
	}
}
