package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// extensions are parts of the combinations to measure: module and name.
var extensions = [][2]string{
	{"ext.example/xk6-many v0.1.0", "k6/x/many@v0.1.0"},
	{"ext.example/xk6-newer v0.2.0", "k6/x/newer@v0.2.0"},
	{"ext.example/xk6-one v0.1.0", "k6/x/one@v0.1.0"},
	{"ext.example/xk6-output-ticks v0.1.0", "ticks@v0.1.0"},
	{"ext.example/xk6-two v0.2.0", "k6/x/two@v0.2.0"},
	{"github.com/grafana/xk6-redis v0.3.6", "k6/x/redis@v0.3.6"},
}

// BenchmarkNewCombination measures a first request for a combination of extensions that
// were each compiled before, against the bare link of the very same program in the
// same run. The metric link-ratio is what counts.
func BenchmarkNewCombination(b *testing.B) {
	s := start(b, warmDir(b))
	list := func(mask int) (names, modules []string) {
		for i, e := range extensions {
			if mask&(1<<i) != 0 {
				modules, names = append(modules, e[0]), append(names, e[1])
			}
		}
		slices.Sort(names)
		return append([]string{"k6@v1.8.1"}, names...), modules
	}
	all, _ := list(1<<len(extensions) - 1)
	fetch(b, s.url+host+strings.Join(all, ",")) // compiles each once
	var services, links []time.Duration
	mask := 0
	for b.Loop() {
		if mask++; mask == 1<<len(extensions)-1 {
			b.Fatal("all combinations are used up: ask for fewer rounds")
		}
		names, modules := list(mask)
		b.StopTimer()
		settle()
		b.StartTimer()
		began := time.Now()
		a := get(b, s.url+host+strings.Join(names, ","))
		services = append(services, time.Since(began))
		checkBinary(b, "the combination", a)

		b.StopTimer()
		link := linkCommand(b, modules)
		settle()
		began = time.Now()
		link()
		links = append(links, time.Since(began))
		b.StartTimer()
	}
	b.ReportMetric(median(services).Seconds(), "service-s")
	b.ReportMetric(median(links).Seconds(), "link-s")
	b.ReportMetric(median(services).Seconds()/median(links).Seconds(), "link-ratio")
}

// settle lets the disk come to rest, so that nobody pays for what another has written.
func settle() { _ = exec.Command("sync").Run() }

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// linkCommand returns a function that links k6 with the modules, and does nothing else:
// the command that go build runs, with its inputs kept.
func linkCommand(b *testing.B, modules []string) func() {
	b.Helper()
	dir := b.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		b.Fatal(err)
	}
	goMod, imports := "module k6\n\ngo 1.21\n\nrequire go.k6.io/k6 v1.8.1\n", ""
	for _, m := range modules {
		path, _, _ := strings.Cut(m, " ")
		goMod += "require " + m + "\n"
		imports += "import _ \"" + path + "\"\n"
	}
	for name, text := range map[string]string{
		"go.mod":  goMod,
		"main.go": "package main\n\nimport \"go.k6.io/k6/cmd\"\n" + imports + "\nfunc main() { cmd.Execute() }\n",
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

// BenchmarkSecondRun measures what k6x costs before it becomes k6, when the k6 that a script needs is
// kept: the time of "k6x run" over that of the same binary run directly, and the ratio.
func BenchmarkSecondRun(b *testing.B) {
	s := start(b, warmDir(b))
	u := newTester(b, "K6X_BUILDER_SERVICE="+s.url)
	args := []string{"run", "--quiet", "--no-summary", "script.js"}
	u.works(redisWorks, args...)
	k6 := u.kept()[0]
	measure := func(cmd *exec.Cmd) time.Duration {
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		return time.Since(start)
	}
	var with, without []time.Duration
	for b.Loop() {
		with = append(with, measure(u.command(b.Context(), args...)))
		cmd := u.command(b.Context())
		cmd.Path, cmd.Args = k6, append([]string{"k6"}, args...)
		without = append(without, measure(cmd))
	}
	over := median(with) - median(without)
	b.ReportMetric(float64(over.Microseconds())/1000, "ms-over-k6")
	b.ReportMetric(float64(median(with))/float64(median(without)), "k6-ratio")
	b.ReportMetric(float64(median(without).Microseconds())/1000, "ms-k6")
}
