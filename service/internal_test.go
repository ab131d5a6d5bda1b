package service

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"k6x"
	"k6x/event"
)

func TestPreferredFollowsTheQualities(t *testing.T) {
	offers := []string{"text/plain", "application/problem+json", "text/html"}
	for accept, want := range map[string]string{
		"":                                   "text/plain",
		"*/*":                                "text/plain",
		"text/*":                             "text/plain",
		"application/problem+json":           "application/problem+json",
		"application/*":                      "application/problem+json",
		"text/html,*/*;q=0.8":                "text/html",
		"text/html;q=0.5, text/plain":        "text/plain",
		"text/plain;q=0, text/html;q=0.1":    "text/html",
		"image/png":                          "text/plain",
		"text/html;q=banana":                 "text/html",
		"*/*;q=0.1,application/problem+json": "application/problem+json",
		";;;,,":                              "text/plain",
	} {
		if got := preferred([]string{accept}, offers...); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

func TestClientIsFoundBehindTrustedProxiesOnly(t *testing.T) {
	s := &front{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}}
	for _, c := range []struct{ peer, forwarded, want string }{
		{"203.0.113.9:1234", "", "203.0.113.9"},
		{"203.0.113.9:1234", "198.51.100.1", "203.0.113.9"},
		{"127.0.0.1:1234", "198.51.100.1", "198.51.100.1"},
		{"127.0.0.1:1234", "192.0.2.66, 198.51.100.1, 10.1.1.1", "198.51.100.1"},
		{"[::ffff:127.0.0.1]:1234", "2001:db8::1", "2001:db8::1"},
		{"127.0.0.1:1234", "nonsense", "127.0.0.1"},
		{"127.0.0.1:1234", "10.0.0.1", "10.0.0.1"},
		{"@", "198.51.100.1", "@"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := s.client(r); got != c.want {
			t.Errorf("%s, forwarded for %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}

func TestEveryKindHasAStatus(t *testing.T) {
	for kind := k6x.Internal; kind <= k6x.Canceled; kind++ {
		if statuses[kind] < 400 {
			t.Errorf("%s has status %d", kind, statuses[kind])
		}
	}
}

func TestParsePreload(t *testing.T) {
	host := k6x.Platform{OS: "linux", Arch: "amd64"}
	wishes, err := ParsePreload("k6@latest:linux/arm64,k6,k6/x/redis@>=0.3,<1:darwin/arm64,k6,subcommand:docs", host)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/linux/arm64/k6", "/darwin/arm64/k6,k6/x/redis@%3E=0.3,%3C1", "/linux/amd64/k6,subcommand:docs"}
	for i, wish := range wishes {
		if got := wish.List.Path(wish.Platform); i >= len(want) || got != want[i] {
			t.Errorf("wish %d is %s", i, got)
		}
	}
	if len(wishes) != len(want) {
		t.Errorf("%d wishes, want %d", len(wishes), len(want))
	}
	for _, bad := range []string{"", "k6,", ":linux/amd64", "k6@banana:linux/amd64"} {
		if wishes, err := ParsePreload(bad, host); err == nil {
			t.Errorf("%q gives %v", bad, wishes)
		}
	}
}

func TestStepsOfBuildsAreMeasured(t *testing.T) {
	m := NewMetrics()
	m.Count(event.Event{Type: event.StepEnded, Step: event.Linking, Duration: 2 * time.Second})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "k6x_build_step_duration_seconds" {
			if h := f.Metric[0]; h.Label[0].GetValue() != "linking" || h.Histogram.GetSampleSum() != 2 {
				t.Errorf("got %v", h)
			}
			return
		}
	}
	t.Error("steps have no metric")
}

// A choice is the same after it was a query.
func FuzzChoice(f *testing.F) {
	f.Add("with=k6/x/redis@v0.3.6&with=dashboard&version=dashboard@v0.8.1&k6=v1.8.1&platform=linux/amd64")
	f.Add("with=k6/x/a@%3E%3D1,%3C2&with=k6@v1&remove=x&with=&with=%26%3D%2B+@@")
	f.Add("with=" + strings.Repeat("o", maxChosen-2) + "%FF") // which is three bytes when it can be printed
	s := &Service{}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		first, err := s.parseChoice(r, q)
		if err != nil {
			return
		}
		q, err = url.ParseQuery(first.Query)
		if err != nil {
			t.Fatalf("%q: %v", first.Query, err)
		}
		again, err := s.parseChoice(r, q)
		if err != nil || again.Query != first.Query || len(again.With) != len(first.With) {
			t.Errorf("%q, then %q: %v", first.Query, again.Query, err)
		}
		for _, chosen := range first.With {
			if strings.Contains(chosen.Name, "@") || chosen.Name == "" {
				t.Errorf("a name %q", chosen.Name)
			}
		}
		if platform, list, err := first.list(); err == nil {
			if back := alternative(platform, list); back.Query == "" {
				t.Errorf("%s is no query", list)
			}
		}
	})
}

// Every route with each method is described, and nothing else is.
func TestTheDescriptionHasTheRoutes(t *testing.T) {
	var described struct {
		Paths map[string]map[string]struct{ Summary string }
	}
	if err := yaml.Unmarshal([]byte(openapiText), &described); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for path, methods := range described.Paths {
		for method, operation := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
			if operation.Summary == "" {
				t.Errorf("%s %s has no summary", method, path)
			}
		}
	}
	for _, r := range (&Service{cfg: Config{URL: &url.URL{}}}).routes() {
		path := r.path
		if path != anyPath {
			path = strings.Replace(path, "/*", "/{path}", 1)
		}
		if path == anyPath {
			path = "/{goos}/{goarch}/{list}"
		}
		want = append(want, r.method+" "+path)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("openapi.yaml (-routes +described):\n%s", diff)
	}
	for _, path := range withPages {
		if !slices.Contains(want, "GET "+path) {
			t.Errorf("%s is no route", path)
		}
	}
}

// deadlined knows until when it may be written to.
type deadlined struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (d *deadlined) SetWriteDeadline(t time.Time) error {
	d.until = t
	return nil
}

// A client that takes each piece in time has to take all of the answer in the time of its handler, where that has one.
func TestAnAnswerEndsAtTheDeadlineOfItsHandler(t *testing.T) {
	to := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	w, end := &response{ResponseWriter: to, stall: time.Hour}, time.Now().Add(time.Minute)
	if err := http.NewResponseController(w).SetWriteDeadline(end); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, strings.NewReader("bytes")); err != nil || !to.until.Equal(end) {
		t.Errorf("it ends at %s, want %s: %v", to.until, end, err)
	}
}
