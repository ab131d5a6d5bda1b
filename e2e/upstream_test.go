package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// upstreamClient is a program of k6build's own packages, as its integration tests use them: it resolves with both catalogs, builds, and
// stores an object twice.
const upstreamClient = `package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/grafana/k6build"
	"github.com/grafana/k6build/pkg/client"
	storeclient "github.com/grafana/k6build/pkg/store/client"
	"github.com/grafana/k6build/pkg/util"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	build, err := client.NewBuildServiceClient(client.BuildServiceClientConfig{URL: os.Args[1]})
	must(err)
	for _, path := range []string{"", k6build.K6ModPath, "go.k6.io/k6/v2"} {
		deps, err := build.Resolve(ctx, path, "*", nil)
		must(err)
		fmt.Println("resolved", path, deps["k6"])
	}
	for _, bad := range []k6build.Dependency{{Name: "k6/x/nowhere", Constraints: "*"}, {Name: "k6/x/redis", Constraints: "banana"}} {
		_, err := build.Build(ctx, os.Args[3], k6build.K6ModPath, "*", []k6build.Dependency{bad})
		fmt.Println("refused", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	artifact, err := build.Build(ctx, os.Args[3], k6build.K6ModPath, "*", []k6build.Dependency{{Name: "k6/x/redis", Constraints: "*"}})
	must(err)
	must(util.Download(ctx, artifact.URL, "k6"))
	fmt.Println("built", artifact.Checksum)

	store, err := storeclient.NewStoreClient(storeclient.StoreClientConfig{Server: os.Args[2]})
	must(err)
	_, err = store.Get(ctx, "id")
	fmt.Println("before", err)
	content := bytes.Repeat([]byte("k6"), 8<<20)
	first, err := store.Put(ctx, "id", bytes.NewReader(content))
	must(err)
	_, err = store.Put(ctx, "id", bytes.NewReader(content))
	fmt.Println("again", err)
	second, err := store.Get(ctx, "id")
	must(err)
	fmt.Println("stored", first == second)
}
`

// K6build's own clients are content with our servers. Where its module cannot be had, nothing can be tried.
func TestClientsFromTheModuleOfK6build(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": upstreamClient,
		"go.mod": "module scratch\n\ngo 1.25.0\n\nrequire github.com/grafana/k6build v0.10.0\n\n" +
			"require go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp v0.72.0 // which is at hand\n",
		"v1.json": `{"k6": {"module": "go.k6.io/k6", "versions": ["v1.8.1"]}, "k6/x/redis": {"module": "github.com/grafana/xk6-redis", "versions": ["v0.3.6"]}}`,
		"v2.json": `{"k6": {"module": "go.k6.io/k6/v2", "versions": ["v2.0.0-rc1"]}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compile := exec.Command("go", "build", "-mod=mod", "-o", "client", ".")
	compile.Dir, compile.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: the module of k6build cannot be had: %v\n%s", err, tail(string(out), 1000))
	}
	store := startK6build(t, "store", "--store-dir", filepath.Join(dir, "objects"))
	server := startK6build(t, "server", "--catalog", filepath.Join(dir, "v1.json"), "--catalog-for", "go.k6.io/k6/v2="+filepath.Join(dir, "v2.json"),
		"--cache-dir", warmDir(t), "--store-url", store.url)
	client := exec.Command(filepath.Join(dir, "client"), server.url, store.url, strings.Trim(host, "/"))
	client.Dir = dir
	out, err := client.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	body, err := os.ReadFile(filepath.Join(dir, "k6"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"resolved  v1.8.1", "resolved go.k6.io/k6 v1.8.1", "resolved go.k6.io/k6/v2 v2.0.0-rc1",
		"refused cannot satisfy dependency: invalid build parameters: unknown dependency: ",
		"refused cannot satisfy dependency: invalid build parameters: invalid constrain: ",
		"built " + (answer{body: body}).digest(), "before object not found", "again duplicate object: ", "stored true",
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, line := range want {
		if len(lines) != len(want) || !strings.HasPrefix(lines[i], line) {
			t.Fatalf("it prints\n%s\nwant\n%s", out, strings.Join(want, "\n"))
		}
	}
}
