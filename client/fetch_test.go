package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k6x"
)

// A list is followed through 307, 301 and rounds of waiting, also to another host, which
// does not get the token. To resolve it, the first pinned list is enough.
func TestAListIsFollowedToTheCanonicalURL(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("another host was given the token")
		}
		if r.URL.Query().Get("round") != "2" {
			w.Header().Set("Location", r.URL.Path+"?round=2")
			w.WriteHeader(307)
			return
		}
		serveData(w, r)
	}))
	defer other.Close()
	var seen []string
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.EscapedPath())
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Error("the service was not given the token")
		}
		switch r.URL.Path {
		case "/base/linux/amd64/k6/x/redis@>=0.3 <1":
			w.Header().Set("Location", "/base/linux/amd64/k6/x/redis@v0.3.6,k6@1.8.1")
			w.WriteHeader(307)
		default:
			w.Header().Set("Location", other.URL+"/cdn/linux/amd64/"+pinned+"?round=1")
			w.WriteHeader(301)
		}
	})
	var events []Event
	c.Progress = func(e Event) { events = append(events, e) }
	got, err := fetch(t, c, "k6/x/redis@>=0.3 <1")
	want := Binary{URL: other.URL + "/cdn/linux/amd64/" + pinned, Platform: linux, Digest: sumOf(data), Size: int64(len(data))}
	if err != nil || got.List.String() != pinned {
		t.Fatalf("%+v, %v", got, err)
	}
	got.List = nil
	if got.URL != want.URL || got.Digest != want.Digest || got.Size != want.Size || got.Platform != linux {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want := []string{"GET /base/linux/amd64/k6/x/redis@%3E=0.3%20%3C1", "GET /base/linux/amd64/k6/x/redis@v0.3.6,k6@1.8.1"}; !slices.Equal(seen, want) {
		t.Errorf("asked for %q, want %q", seen, want)
	}
	var steps []string
	for _, e := range events {
		if e.Step != Downloading {
			_, round, _ := strings.Cut(e.URL, "round=")
			steps = append(steps, fmt.Sprint(e.Step)+" "+round)
		}
	}
	if want := []string{"0 ", "1 ", "1 1", "1 2"}; !slices.Equal(steps, want) {
		t.Errorf("reported %q, want %q", steps, want)
	}
	seen = nil
	resolved, err := c.Resolve(t.Context(), linux, list(t, "k6/x/redis@>=0.3 <1"))
	if err != nil || resolved.String() != "k6@v1.8.1,k6/x/redis@v0.3.6" || len(seen) != 1 {
		t.Errorf("resolved to %s by %q, %v", resolved, seen, err)
	}
	seen = nil
	if resolved, err := c.Resolve(t.Context(), linux, list(t, pinned)); err != nil || resolved.String() != pinned || len(seen) > 0 {
		t.Errorf("a pinned list is resolved to %s by %q, %v", resolved, seen, err)
	}
}

func TestTheUserOfTheBaseIsSentAndNotKept(t *testing.T) {
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "pw" {
			t.Errorf("%s as %q %q", r.Method, user, password)
		}
		serveData(w, r)
	})
	c.Token, c.Base.User = "", url.UserPassword("me", "pw")
	c.Progress = func(e Event) {
		if strings.Contains(e.URL, "pw") {
			t.Errorf("shown: %s", e.URL)
		}
	}
	got, err := fetch(t, c, pinned)
	if err != nil || strings.Contains(got.URL, "pw") {
		t.Errorf("%+v, %v", got, err)
	}
}

// What the service says about a failure keeps its kind and words.
func TestErrorsOfTheServiceKeepKindAndWords(t *testing.T) {
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		kind    k6x.Kind
		message string
		hint    string
		tries   int
	}{
		"problem": {status(404, "application/problem+json", `{"kind":"not_found","detail":"there is no k6/x/hallo","hint":"Did you mean k6/x/hello?"}`),
			k6x.NotFound, "there is no k6/x/hallo", "Did you mean k6/x/hello?", 1},
		"the kind rather than the status": {status(403, "application/problem+json; charset=utf-8", `{"kind":"conflict","detail":"no"}`), k6x.Conflict, "no", "", 1},
		"a log":                           {status(422, "application/problem+json", `{"detail":"x.go:1: no","log":"http://h/logs/1"}`), k6x.BuildFailed, "x.go:1: no", "The whole log is at http://h/logs/1", 1},
		"text":                            {status(409, "text/plain", "too old\nTake a newer one."), k6x.Conflict, "too old", "Take a newer one.", 1},
		"a page":                          {status(404, "text/html", "<h1>hello</h1>"), k6x.Unavailable, "answers 404 Not Found", "Is the URL of the service right?", 1},
		"no JSON":                         {status(400, "application/problem+json", "{"), k6x.Unavailable, "answers 400", "Is the URL of the service right?", 1},
		"title":                           {status(400, "application/json", `{"title":"Bad"}`), k6x.Invalid, "Bad", "", 1},
		"terminal control":                {status(400, "text/plain", "\x1b[2Jevil\u202e\x07"), k6x.Invalid, "[2Jevil", "", 1},
		"internal":                        {status(500, "application/problem+json", `{"kind":"internal","detail":"something went wrong"}`), k6x.Unavailable, "something went wrong", "", 4},
		"busy":                            {status(503, "application/problem+json", `{"kind":"busy","detail":"the queue is full"}`), k6x.Busy, "the queue is full", "", 4},
		"quota":                           {status(429, "text/plain", "slowly"), k6x.Quota, "slowly", "", 4},
		"stopping":                        {status(503, "application/problem+json", `{"kind":"canceled","detail":"bye"}`), k6x.Busy, "bye", "", 4},
		"the build took too long":         {status(504, "application/problem+json", `{"kind":"timeout","detail":"too long"}`), k6x.Timeout, "too long", "", 1},
		"a proxy's":                       {status(502, "text/html", "<h1>Bad Gateway</h1>"), k6x.Unavailable, "answers 502 Bad Gateway", "", 4},
		"a teapot":                        {status(418, "", ""), k6x.Unavailable, "418", "Is the URL of the service right?", 1},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			client, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
				tries++
				c.answer(w, r)
			})
			for name, ask := range map[string]func() error{
				"resolve": func() error { _, err := client.Resolve(t.Context(), linux, list(t, "k6")); return err },
				"fetch":   func() error { _, err := fetch(t, client, pinned); return err },
			} {
				tries = 0
				err := ask()
				e := k6x.AsError(err)
				if err == nil || e.Kind != c.kind || !strings.Contains(e.Message, c.message) || e.Hint != c.hint || tries != c.tries {
					t.Errorf("%s: %s: %q, hint %q, after %d tries", name, e.Kind, e.Message, e.Hint, tries)
				}
				if strings.ContainsAny(e.Message, "\x1b\x07\u202e") {
					t.Errorf("not printable: %q", e.Message)
				}
			}
		})
	}
}

func TestRetryAfterIsKeptToWithinBounds(t *testing.T) {
	after := []string{"7", "99999999", "soon"}
	tries := 0
	c, pauses := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if tries < len(after) {
			w.Header().Set("Retry-After", after[tries])
			tries++
			w.WriteHeader(503)
			return
		}
		serveData(w, r)
	})
	var reported []time.Duration
	c.Retrying = func(err error, after time.Duration) {
		if k6x.KindOf(err) != k6x.Unavailable {
			t.Errorf("reported %v", err)
		}
		reported = append(reported, after)
	}
	_, err := fetch(t, c, pinned)
	if !slices.Equal(reported, *pauses) {
		t.Errorf("reported pauses of %v, not %v", reported, *pauses)
	}
	if p := *pauses; err != nil || len(p) != 3 || p[0] != 7*time.Second || p[1] != maxPause || p[2] < 4*time.Second || p[2] > 5*time.Second {
		t.Errorf("%v after pauses of %v", err, p)
	}
}

// Nothing but what a builder service answers passes for a binary.
func TestAnswersThatAreNotThoseOfAService(t *testing.T) {
	to := func(location string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(302)
		}
	}
	for name, c := range map[string]struct {
		list, words string
		answer      http.HandlerFunc
	}{
		"a page":             {pinned, "does not answer as", status(200, "text/html", "<html>")},
		"nothing to resolve": {"k6", "does not answer as", serveData},
		"two digests": {pinned, "two digests", func(w http.ResponseWriter, r *http.Request) {
			announce(w, data)
			w.Header().Set("Etag", `"`+strings.Repeat("0", 64)+`"`)
		}},
		"a bad digest": {pinned, "digest that is none", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Repr-Digest", "sha-256=:AAAA:")
		}},
		"another scheme":  {pinned, "which is not followed", to("file:///etc/passwd")},
		"nowhere":         {pinned, "which is not followed", to("")},
		"itself":          {pinned, "redirects too often", to("")},
		"another version": {"k6@v1.8.1", "not what was asked for", to("/linux/amd64/k6@v1.8.0")},
		"more than asked": {"k6", "not what was asked for", to("/linux/amd64/k6@v1.8.0,k6/x/miner@v1.0.0")},
		"less than asked": {"k6,k6/x/redis", "not what was asked for", to("/linux/amd64/k6@v1.8.0")},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
				if name == "itself" {
					to(r.URL.Path)(w, r)
					return
				}
				c.answer(w, r)
			})
			got, err := fetch(t, client, c.list)
			if k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%+v, %v", got, err)
			}
			if l := list(t, c.list); !l.Pinned() {
				if got, err := client.Resolve(t.Context(), linux, l); k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), c.words) {
					t.Errorf("resolved to %s, %v", got, err)
				}
			}
		})
	}
}

func TestHTTPSIsNotLeftForHTTP(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(serveData))
	defer plain.Close()
	server := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/linux/amd64/"+pinned, http.StatusTemporaryRedirect))
	defer server.Close()
	base, err := ParseBase(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Base: base, HTTP: server.Client()}
	if got, err := fetch(t, c, pinned); err == nil || !strings.Contains(err.Error(), "which is not followed") {
		t.Errorf("%+v, %v", got, err)
	}
}

// A service that hangs is told from one that takes its time to build.
func TestAServiceThatHangsIsGivenUpAndOneThatBuildsIsNot(t *testing.T) {
	var probes int
	enough := make(chan struct{})
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/base/progress/linux/amd64/"+pinned {
			if probes++; probes == 3 {
				close(enough)
			}
			return
		}
		<-enough
		serveData(w, r)
	})
	c.Silence = 20 * time.Millisecond
	if _, err := fetch(t, c, pinned); err != nil {
		t.Error(err)
	}
	c, _ = dial(t, func(_ http.ResponseWriter, r *http.Request) { stall(r) })
	c.Silence = 20 * time.Millisecond
	if _, err := fetch(t, c, pinned); k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), "does not answer") {
		t.Error(err)
	}
}

// Once it is known which build is waited for, its events say how far it is. Where they are not for this client, its progress does.
func TestProgressIsDrawnFromTheEventsOfTheBuild(t *testing.T) {
	for _, open := range []bool{true, false} {
		built := make(chan struct{})
		polls := 0
		c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/base/progress/linux/amd64/" + pinned:
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"build": %q, "step": "compiling", "done": %d}`, buildID, polls)
				if polls++; !open && polls == 3 {
					close(built)
				}
			case "/base/builds/" + buildID + "/events":
				if !open {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				fmt.Fprint(w, `{"type": "step_begun", "step": "linking", "total": 7}`+"\n\n"+`{"type": "progress", "step": "\u001b[2J"}`+"\n{\n"+`{"type": "stored"}`+"\n")
				_ = http.NewResponseController(w).Flush()
				stall(r)
			default:
				<-built
				serveData(w, r)
			}
		})
		c.Silence = 20 * time.Millisecond
		var linking, steps int
		c.Progress = func(e Event) {
			if e.Doing != "" {
				steps++
			}
			if e.Doing == "linking" && e.Total == 7 {
				linking++
				close(built)
			}
		}
		if _, err := fetch(t, c, pinned); err != nil || open && (linking != 1 || polls == 0) || !open && (linking != 0 || steps < 2) {
			t.Errorf("events to be had: %v: %v, %d of %d reports of a link, %d questions", open, err, linking, steps, polls)
		}
	}
}

func TestWaitingHasAnEnd(t *testing.T) {
	c, _ := dial(t, func(_ http.ResponseWriter, r *http.Request) { stall(r) })
	c.MaxWait = 20 * time.Millisecond
	if _, err := fetch(t, c, pinned); k6x.KindOf(err) != k6x.Timeout {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, _ = dial(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); stall(r) })
	if _, err := c.Fetch(ctx, linux, list(t, pinned), tempFile(t)); k6x.KindOf(err) != k6x.Canceled {
		t.Error(err)
	}
}

func TestAServiceThatDoesNotListen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, pauses := dial(t, serveData)
	c.Base.Host = listener.Addr().String()
	listener.Close()
	_, err = fetch(t, c, pinned)
	if k6x.KindOf(err) != k6x.Unavailable || len(*pauses) != 0 || k6x.AsError(err).Hint == "" {
		t.Errorf("%v after pauses of %v", err, *pauses)
	}
}

func FuzzDigest(f *testing.F) {
	f.Add("sha-256=:AAAA:", `"abc"`)
	f.Add("md5=:x:, SHA-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:;q=1", `W/"`+strings.Repeat("ab", 32)+`"`)
	f.Fuzz(func(t *testing.T, repr, tag string) {
		h := http.Header{"Repr-Digest": {repr}, "Etag": {tag}}
		if got, err := digestOf(h); err == nil && got != "" && k6x.CheckKey(got) != nil {
			t.Errorf("%q", got)
		}
		p := parseProblem(&http.Response{Header: http.Header{"Content-Type": {tag}}}, []byte(repr))
		if s := k6x.Printable(p.Detail); strings.ContainsAny(s, "\x1b\x07\r") {
			t.Errorf("%q", s)
		}
	})
}

// A service that has answered is waited for while it restarts; one that takes no connection from the start, or for long, is not.
func TestAServiceThatRestartsIsWaitedFor(t *testing.T) {
	stops := func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "this service is about to stop", http.StatusServiceUnavailable)
	}
	for name, c := range map[string]struct {
		last  func(http.ResponseWriter) // answer, after which no connections are taken; nil: there is none
		down  int32                     // connections that are not taken then
		tries int32                     // of those, in vain
		fails bool
	}{
		"it says that it stops":  {stops, 4, 4, false},
		"it is killed":           {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 5, 5, false},
		"between two rounds":     {func(w http.ResponseWriter) { w.Header().Set("Location", "?round=1"); w.WriteHeader(307) }, 4, 4, false},
		"it stays away":          {stops, 1000, 6, true},
		"it was not there":       {nil, 1, 1, true},
		"it was not there, long": {nil, 1000, 1, true},
	} {
		var answered atomic.Bool
		var down, tries atomic.Int32
		if c.last == nil {
			answered.Store(true)
			down.Store(c.down)
		}
		client, pauses := dial(t, func(w http.ResponseWriter, r *http.Request) {
			if !answered.Swap(true) {
				down.Store(c.down)
				c.last(w)
				return
			}
			serveData(w, r)
		})
		client.Tries, client.Silence = 2, time.Minute
		client.HTTP = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if down.Add(-1) >= 0 {
				tries.Add(1)
				return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}}
		_, err := fetch(t, client, pinned)
		var waited time.Duration
		for _, d := range *pauses {
			waited += d
		}
		if (err != nil) != c.fails || c.fails && k6x.KindOf(err) != k6x.Unavailable || tries.Load() != c.tries || waited > 2*time.Minute {
			t.Errorf("%s: %v, with %d connections tried, and pauses %v", name, err, tries.Load(), *pauses)
		}
	}
}
