package service

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"k6x"
)

func TestSplitDependencyKnowsNamesWithAColon(t *testing.T) {
	for item, want := range map[string]wireDependency{
		"k6/x/redis":               {"k6/x/redis", ""},
		"k6/x/redis:>=0.3,<1":      {"k6/x/redis", ">=0.3,<1"},
		"k6/x/redis:":              {"k6/x/redis", ""},
		"subcommand:docs":          {"subcommand:docs", ""},
		"subcommand:docs:v1.0.0":   {"subcommand:docs", "v1.0.0"},
		"github.com/me/xk6-own:*":  {"github.com/me/xk6-own", "*"},
		"":                         {"", ""},
		"dashboard:v0.8.1:nonsens": {"dashboard", "v0.8.1:nonsens"},
	} {
		if got := splitDependency(item); got != want {
			t.Errorf("%q is %q, want %q", item, got, want)
		}
	}
}

func TestABodyMakesAListInTheWordsOfTheService(t *testing.T) {
	for _, test := range []struct {
		body  resolveBody
		want  string
		major int
	}{
		{resolveBody{}, "k6", 1},
		{resolveBody{K6: "*", Dependencies: []wireDependency{{"top", ""}, {"k6/x/redis", "1.0.0"}}}, "k6,k6/x/redis@v1.0.0,top", 1},
		{resolveBody{Dependencies: []wireDependency{{"k6", "v1.0.0"}}}, "k6@v1.0.0", 1},
		{resolveBody{K6: ">=v1", Dependencies: []wireDependency{{"k6", ">=v1"}}}, "k6@>=v1", 1},
		{resolveBody{K6: "2.0.0", K6ModPath: "go.k6.io/k6/v2"}, "k6@v2.0.0", 2},
	} {
		req, err := test.body.request()
		if err != nil || req.list.String() != test.want || req.major != test.major {
			t.Errorf("%+v: %v for v%d, %v", test.body, req.list, req.major, err)
		}
	}
}

// deadlines is a writer that notes read deadlines.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// One that is left would pass during a long build, and look as if the client had left.
func TestTheDeadlineForABodyEndsWithIt(t *testing.T) {
	d := &deadlines{ResponseWriter: httptest.NewRecorder()}
	var body buildBody
	err := readJSON(&response{ResponseWriter: d}, httptest.NewRequest("POST", "/build", strings.NewReader(`{"k6": "*"}`)), &body)
	if err != nil || len(d.set) != 2 || d.set[0].IsZero() || !d.set[1].IsZero() {
		t.Errorf("%v, deadlines %v", err, d.set)
	}
}

// checkRequest fails the test if what a stranger sent came through in a form that is not ours.
func checkRequest(t *testing.T, body buildBody) {
	t.Helper()
	req, err := body.request()
	if err != nil {
		switch k6x.KindOf(err) {
		case k6x.Invalid, k6x.NotFound, k6x.Conflict:
			return
		}
		t.Fatalf("%v is of kind %s", err, k6x.KindOf(err))
	}
	again, err := k6x.ParseList(req.list.String())
	if err != nil || again.String() != req.list.String() || again[0].Name != k6x.K6 {
		t.Errorf("%q is read as %q, %v", req.list, again, err)
	}
}

func FuzzBuildJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"k6": ">=v1", "dependencies": [{"name": "k6/x/redis", "constraints": "*"}], "platform": "linux/amd64",
		"k6_mod_path": "go.k6.io/k6/v2", "nocache": true}`, `{"k6": 1}`, `[`, `null`, `{} {}`, `{"dependencies": [{}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var body buildBody
		r := httptest.NewRequest("POST", "/build", strings.NewReader(string(data)))
		if err := readJSON(&response{ResponseWriter: httptest.NewRecorder()}, r, &body); err != nil {
			if _, ok := errors.AsType[*malformed](err); !ok {
				t.Fatalf("%v is not malformed", err)
			}
			return
		}
		checkRequest(t, body)
	})
}

func FuzzBuildQuery(f *testing.F) {
	for _, seed := range []string{"", "platform=linux/amd64&k6=*&dep=k6/x/redis:v0.3.6&dep=subcommand:docs:^1&nocache=1", "k6=%zz", "a;b", "dep=:&dep=a:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		body, err := parseQuery(query)
		if err != nil {
			if _, ok := errors.AsType[*malformed](err); !ok {
				t.Fatalf("%v is not malformed", err)
			}
			return
		}
		if values, _ := url.ParseQuery(query); len(values["dep"]) != len(body.Dependencies) {
			t.Errorf("%d dependencies of %q", len(body.Dependencies), query)
		}
		checkRequest(t, body)
	})
}
