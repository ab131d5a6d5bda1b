package client

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"k6x"
)

const buildID = "68d88896-7b03-49e4-bd10-bcc7ba7ce0f9"

func TestBuildsAreFollowedOverPages(t *testing.T) {
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/base/builds" || r.Header.Get("Authorization") != "Bearer secret" || r.URL.Query().Get("k6") != "v1.8.1" {
			t.Errorf("%s", r.URL)
		}
		switch r.URL.Query().Get("cursor") {
		case "":
			fmt.Fprintf(w, `{"running": [{"id": %q, "outcome": "running"}], "builds": [{"number": 9, "result": {"id": %[1]q, "error": "a  \u001b\u009b b"}}], "cursor": "x"}`, buildID)
		case "x": // the cursor that was asked for again is no other page
			fmt.Fprintf(w, `{"builds": [{"number": 8, "result": {"id": %q, "path": "/%c"}}], "cursor": "x"}`, buildID, '\u009b')
		}
	})
	var got []string
	for b, err := range c.Builds(t.Context(), url.Values{"k6": {"v1.8.1"}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.JSON)
	}
	if text := strings.Join(got, "\n"); len(got) != 3 || text != k6x.Printable(text) || !strings.Contains(text, `"a  \u001b`) {
		t.Errorf("%q", got)
	}
}

func TestAnswersAboutBuildsThatAreWrong(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
			t.Errorf("%s with token %q was sent elsewhere", r.Method, r.Header.Get("Authorization"))
		}
	}))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"no id": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"builds": [{"result": {"id": "../x"}}], "id": "../x"}`)
		},
		"another one": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"a wrong status": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		},
	} {
		c, _ := dial(t, answer)
		for _, err := range c.Builds(t.Context(), nil) {
			if k6x.KindOf(err) != k6x.Unavailable {
				t.Errorf("%s: builds: %v", name, err)
			}
		}
		if _, err := c.RetryBuild(t.Context(), buildID); k6x.KindOf(err) != k6x.Unavailable {
			t.Errorf("%s: retry: %v", name, err)
		}
	}
	// A service explains itself: that is its answer.
	c, _ := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprintf(w, `{"kind": "build_failed", "detail": "no\u001b[2J", "build": %q}`, buildID)
	})
	_, err := c.RetryBuild(t.Context(), buildID)
	if e := k6x.AsError(err); e.Kind != k6x.BuildFailed || e.Message != "no[2J" || e.Build != buildID {
		t.Errorf("%+v", e)
	}
}

func TestALogIsFitForATerminal(t *testing.T) {
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/base/builds/..%2Fx/log" && r.URL.EscapedPath() != "/base/builds/..%2Fx/log" {
			t.Errorf("%s", r.URL)
		}
		fmt.Fprint(w, "# one\n\x1b[31mred\n"+strings.Repeat("x", 3*maxAnswer)+"\nend")
	})
	var log strings.Builder
	if err := c.Log(t.Context(), "../x", &log); err != nil || log.String() != "# one\n[31mred\n"+strings.Repeat("x", 3*maxAnswer)+"\nend" {
		t.Errorf("%d bytes, %v", log.Len(), err)
	}
}

// What breaks off is asked for again behind the last entry that came as a whole.
func TestChangesAreResumed(t *testing.T) {
	tries := 0
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		switch tries++; r.URL.Query().Get("since") {
		case "5":
			fmt.Fprint(w, "{\"number\": 6}\n\n{\"number\": 7, \"name\": \"\x1b\u009b")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "6":
			fmt.Fprint(w, "{\"number\": 7}\n")
		}
	})
	var got []string
	last, err := c.Changes(t.Context(), 5, 0, func(line string) error {
		got = append(got, line)
		return nil
	})
	if want := `[{"number": 6} {"number": 7}]`; err != nil || last != 7 || fmt.Sprint(got) != want || tries != 2 {
		t.Errorf("%v, last %d, %v", got, last, err)
	}
	for name, answer := range map[string]string{"no JSON": "hello\n", "an old entry": `{"number": 5}`, "a line without end": `{"number": 6, "x": "` + strings.Repeat("x", 2*maxLine)} {
		c, _ := dial(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
		if _, err := c.Changes(t.Context(), 5, 0, func(string) error { return nil }); k6x.KindOf(err) != k6x.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}
