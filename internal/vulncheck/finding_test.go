package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsCalledAndMendedFails(t *testing.T) {
	found, err := read(strings.NewReader(`
		{"config": {"scanner_name": "govulncheck"}}
		{"osv": {"id": "GO-2026-0001", "summary": "a crash", "affected": []}}
		{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.0", "trace": [{"module": "example.com/called", "version": "v1.1.0"}]}}
		{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.0", "trace": [{"module": "example.com/called", "version": "v1.1.0", "package": "example.com/called"}]}}
		{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.0", "trace": [
			{"module": "example.com/called", "version": "v1.1.0", "package": "example.com/called", "function": "Crash"}, {"module": "k6x", "package": "k6x", "function": "main"}]}}
		{"finding": {"osv": "GO-2026-0001", "fixed_version": "v1.2.0", "trace": [{"module": "example.com/called", "version": "v1.1.0", "package": "example.com/called"}]}}
		{"finding": {"osv": "GO-2026-0002", "fixed_version": "v1.2.0", "trace": [{"module": "example.com/imported", "version": "v1.1.0", "package": "example.com/imported"}]}}
		{"finding": {"osv": "GO-2026-0003", "fixed_version": "v1.2.0", "trace": [{"module": "example.com/required", "version": "v1.1.0"}]}}
		{"finding": {"osv": "GO-2026-0004", "trace": [{"module": "example.com/unmended", "version": "v1.1.0", "package": "example.com/unmended", "function": "Crash"}]}}
		{"finding": {"osv": "GO-2026-0005", "fixed_version": "v1.26.9", "trace": [{"module": "stdlib", "version": "v1.26.8", "package": "net/http", "function": "Get"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range found {
		if f.fails() {
			got.WriteString("fails: ")
		}
		got.WriteString(f.String() + "\n")
	}
	if want := `fails: GO-2026-0001 example.com/called@v1.1.0 is called, mended by v1.2.0: a crash
GO-2026-0002 example.com/imported@v1.1.0 is imported, mended by v1.2.0: 
GO-2026-0004 example.com/unmended@v1.1.0 is called, and no version mends it: 
fails: GO-2026-0005 stdlib@v1.26.8 is called, mended by v1.26.9: 
`; got.String() != want {
		t.Errorf("got\n%swant\n%s", &got, want)
	}
}

func TestOutputThatEndsTooSoonIsNoSuccess(t *testing.T) {
	if _, err := read(strings.NewReader(`{"config": {}} {"finding": {"osv":`)); err == nil {
		t.Error("no error")
	}
}

func TestToolchainLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go.mod")
	for content, want := range map[string]string{
		"module m\n\ngo 1.26.0\n\ntoolchain go1.26.11\n": "go1.26.11",
		"module m\n\ngo 1.26.0\n":                        "",
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := toolchainLine(file); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, error %v, want %q", content, got, err, want)
		}
	}
}
