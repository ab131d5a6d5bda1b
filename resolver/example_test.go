package resolver_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"k6x"
	"k6x/resolver"
)

func ExampleResolver_Resolve() {
	// A registry of our own over the embedded one, and a module proxy that is a directory.
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for name, data := range map[string]string{
		"registry.json":                           `[{"module": "example.com/xk6-tea", "imports": ["k6/x/tea"]}]`,
		"proxy/go.k6.io/k6/@v/list":               "v1.8.0\nv1.8.1\n",
		"proxy/go.k6.io/k6/@v/v1.8.1.mod":         "module go.k6.io/k6\ngo 1.25.0\n",
		"proxy/example.com/xk6-tea/@v/list":       "v0.3.0\nv0.3.1\n",
		"proxy/example.com/xk6-tea/@v/v0.3.1.mod": "module example.com/xk6-tea\ngo 1.24\nrequire go.k6.io/k6 v1.4.2\n",
	} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			panic(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	r, err := resolver.New(ctx, resolver.Config{
		Registries: []string{resolver.Embedded, filepath.Join(dir, "registry.json")},
		Dir:        filepath.Join(dir, "cache"),
		Env:        []string{"GOPROXY=file://" + filepath.ToSlash(dir) + "/proxy"},
		Toolchain:  "go1.26.8",
	})
	if err != nil {
		panic(err)
	}
	list, err := k6x.ParseList("k6/x/tea@^0.3")
	if err != nil {
		panic(err)
	}
	resolution, err := r.Resolve(ctx, list)
	if err != nil {
		panic(err)
	}
	for _, m := range resolution.Modules {
		fmt.Println(m.Label())
	}
	fmt.Println(resolution.List())
	// Output:
	// k6 (go.k6.io/k6@v1.8.1)
	// k6/x/tea (example.com/xk6-tea@v0.3.1)
	// k6@v1.8.1,k6/x/tea@v0.3.1
}
