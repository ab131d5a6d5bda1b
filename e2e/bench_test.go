package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkNewCombination measures a first request for a combination of extensions that
// were each compiled before, against the bare link of the same program in the same
// run. The metric link-ratio is what counts.
func BenchmarkNewCombination(b *testing.B) {
	s := start(b, warmDir(b))
	parts := []string{"k6/x/many@v0.1.0", "k6/x/newer@v0.2.0", "k6/x/one@v0.1.0", "k6/x/redis@v0.3.6", "k6/x/two@v0.2.0", "k6/x/versions@v1.2.0",
		"subcommand:hello@v0.1.0", "ticks@v0.1.0"}
	fetch(b, s.url+host+"k6@v1.8.1,"+strings.Join(parts, ",")) // compiles each once
	link := linkCommand(b)
	var services, links []time.Duration
	next := 1
	for b.Loop() {
		if next == 1<<len(parts)-1 {
			b.Skip("all combinations are used up")
		}
		var list []string
		for i, part := range parts {
			if next&(1<<i) != 0 {
				list = append(list, part)
			}
		}
		next++
		start := time.Now()
		a := get(b, s.url+host+"k6@v1.8.1,"+strings.Join(list, ","))
		services = append(services, time.Since(start))
		checkBinary(b, "the combination", a)

		b.StopTimer()
		start = time.Now()
		link()
		links = append(links, time.Since(start))
		b.StartTimer()
	}
	b.ReportMetric(median(services).Seconds(), "service-s")
	b.ReportMetric(median(links).Seconds(), "link-s")
	b.ReportMetric(median(services).Seconds()/median(links).Seconds(), "link-ratio")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// linkCommand returns a function that links k6 with one extension, and does nothing else:
// the command that go build runs, with its inputs kept.
func linkCommand(b *testing.B) func() {
	b.Helper()
	dir := b.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":  "module k6\n\ngo 1.21\n\nrequire (\n\tgo.k6.io/k6 v1.8.1\n\text.example/xk6-one v0.1.0\n)\n",
		"main.go": "package main\n\nimport (\n\t\"go.k6.io/k6/cmd\"\n\n\t_ \"ext.example/xk6-one\"\n)\n\nfunc main() { cmd.Execute() }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	warm := filepath.Join(world.warm(), "go")
	build := exec.Command("go", "build", "-x", "-work", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", "k6", ".")
	build.Dir = dir
	build.Env = append(slices.Clone(world.env), "GOFLAGS=", "CGO_ENABLED=0", "GOTMPDIR="+work,
		"GOMODCACHE="+filepath.Join(warm, "modcache"), "GOCACHE="+filepath.Join(warm, "gocache"))
	out, err := build.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, tail(string(out), 3000))
	}
	root := regexp.MustCompile(`(?m)^WORK=(.*)$`).FindStringSubmatch(string(out))
	command := regexp.MustCompile(`(?m)^.*/link -o .*$`).FindString(string(out))
	if root == nil || command == "" {
		b.Fatalf("no link command in\n%s", tail(string(out), 3000))
	}
	return func() {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = append(slices.Clone(build.Env), "WORK="+root[1])
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}

// BenchmarkHit measures downloads of a stored k6 against those of the same file from the file
// server of net/http in the same run.
func BenchmarkHit(b *testing.B) {
	warmUp(b)
	s := start(b, world.warm())
	a := fetch(b, s.url+host+redisList)
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "k6"), a.body, 0o644); err != nil {
		b.Fatal(err)
	}
	reference := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer reference.Close()
	download := func(url string) time.Duration {
		began := time.Now()
		resp, err := http.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != int64(len(a.body)) {
			b.Fatalf("%d bytes, %v", n, err)
		}
		return time.Since(began)
	}
	var ours, theirs []time.Duration
	b.SetBytes(int64(len(a.body)))
	for b.Loop() {
		ours = append(ours, download(s.url+host+redisList))
		b.StopTimer()
		theirs = append(theirs, download(reference.URL+"/k6"))
		b.StartTimer()
	}
	b.ReportMetric(median(ours).Seconds()/median(theirs).Seconds(), "fileserver-ratio")
}
