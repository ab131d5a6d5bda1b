package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serveFiles {
		_ = fileServer(os.Args[2], os.Stdout)
		os.Exit(1)
	}
	if name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"); name == "xk6" || name == "k6build" {
		if err := pretend(name, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// What takes seconds of the measurements is run as a whole, with the programs that it starts.
func TestMeasurementsRunAndAreReported(t *testing.T) {
	if os.Getenv("K6X_TEST_FULL") == "" {
		t.Skip("SKIPPED: it takes long, and is left to K6X_TEST_FULL=1")
	}
	standIns(t)
	file := filepath.Join(t.TempDir(), "figures.json")
	var table, log bytes.Buffer
	if err := run(t.Context(), []string{"-short", "-only", "^(small|resolver|store|pages|extension|combination|neighbours|worker)$", "-json", file}, &table, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	var names, builders []string
	for _, row := range got.Rows {
		if len(row.Samples) == 0 || row.Median < row.Low || row.Median > row.High {
			t.Errorf("%+v", row)
		}
		if !strings.Contains(table.String(), row.Case) {
			t.Errorf("the table has no %s", row.Case)
		}
		names = append(names, row.Measurement)
		if row.Measurement == "combination" && row.Case == "first request" && row.Ratio > 0 {
			builders = append(builders, row.Subject)
		}
	}
	if names = slices.Compact(names); !slices.Equal(names, []string{"small", "resolver", "store", "pages", "extension", "combination", "neighbours", "worker"}) {
		t.Errorf("measured were %q", names)
	}
	if !slices.Equal(builders, []string{"k6x", sandboxOff, bareLink, "go build", "xk6", "k6build"}) {
		t.Errorf("a new combination was built by %q", builders)
	}
}

func TestWhatTakesLongRunsOnlyIfItIsNamed(t *testing.T) {
	for _, test := range []struct {
		only  string
		short bool
		runs  bool
	}{{"", false, false}, {"", true, true}, {"cold", false, true}, {"hit", true, false}} {
		chosen, err := choose(test.only, test.short)
		if err != nil {
			t.Fatal(err)
		}
		if runs := slices.ContainsFunc(chosen, func(m measurement) bool { return m.name == "cold" }); runs != test.runs {
			t.Errorf("-only %q -short=%t: cold runs is %t", test.only, test.short, runs)
		}
	}
}

func TestEachMeasurementHasAName(t *testing.T) {
	var table bytes.Buffer
	if err := run(t.Context(), []string{"-list"}, &table, &table); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range measurements() {
		if m.run == nil || seen[m.name] || !strings.Contains(table.String(), m.name+" ") {
			t.Errorf("%q is there twice, or does nothing, or is not listed", m.name)
		}
		seen[m.name] = true
	}
}

func TestALoadSendsWhatItSaysAndChecksTheAnswers(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Header.Get("X-It") == "is" {
			_, _ = w.Write([]byte("four"))
		}
	}))
	defer server.Close()
	l := load{addr: server.Listener.Addr().String(), paths: []string{"/a", "/b"}, headers: []string{"X-It: is"}, clients: 3, requests: 10, status: 200, size: 4}
	o, err := l.run(t.Context())
	if err != nil || requests.Load() != 10 || o.bytes != 40 || len(o.took) != 10 || o.quantile(1) < o.quantile(0) {
		t.Errorf("%+v after %d requests, %v", o, requests.Load(), err)
	}
	l.status = 304
	if _, err := l.run(t.Context()); err == nil {
		t.Error("another status is not noticed")
	}
	l.status, l.size = 200, 5
	if _, err := l.run(t.Context()); err == nil {
		t.Error("another size is not noticed")
	}
}

func TestALoadThatIsNotAnsweredEndsAndSaysSo(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	l := load{addr: server.Listener.Addr().String(), paths: []string{"/"}, clients: 1, requests: 1, status: 200, limit: 100 * time.Millisecond}
	if _, err := l.run(t.Context()); err == nil || !strings.Contains(err.Error(), "within 100ms") {
		t.Error(err)
	}
}

func TestRatiosAreThoseOfTheSameRounds(t *testing.T) {
	var r report
	r.add("it", []row{
		{Case: "a", Subject: "x", Unit: "s", Samples: []float64{1, 20, 3}, Reference: "y"},
		{Case: "b", Subject: "x", Unit: "s", Samples: []float64{5}},
		{Case: "a", Subject: "y", Unit: "s", Samples: []float64{2, 40, 12}},
		{Case: "a", Subject: "empty", Unit: "s"},
	})
	if len(r.Rows) != 3 || r.Rows[1].Subject != "y" || r.Rows[0].Ratio != .5 || r.Rows[0].Median != 3 || r.Rows[0].Low != 1 || r.Rows[0].High != 20 {
		t.Errorf("%+v", r.Rows)
	}
}

func TestABadCommandLineIsRefused(t *testing.T) {
	for _, args := range [][]string{{"-count", "0"}, {"-only", "("}, {"hit"}, {"-what"}} {
		if err := run(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is not refused", args)
		}
	}
}
