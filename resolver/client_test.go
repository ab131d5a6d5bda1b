package resolver_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"k6x"
	"k6x/internal/egress"
	"k6x/resolver"
)

// Registries and module proxies are reached by the proxy that the operator sets for the go command.
func TestTheProxyOfTheOperatorIsUsed(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]bool) // by host
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Host] = true
		mu.Unlock()
		switch r.URL.Path {
		case "/registry.json":
			_, _ = w.Write([]byte(`{"k6": {"module": "go.k6.io/k6", "versions": ["v1.0.0"]}, "k6/x/a": {"module": "example.com/a"}}`))
		case "/example.com/a/@v/list":
			_, _ = w.Write([]byte("v0.1.0\n"))
		case "/example.com/a/@v/v0.1.0.mod":
			_, _ = w.Write([]byte("module example.com/a\nrequire go.k6.io/k6 v1.0.0\n"))
		case "/go.k6.io/k6/@v/v1.0.0.mod":
			_, _ = w.Write([]byte("module go.k6.io/k6\n"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(proxy.Close)
	env := []string{"GOPROXY=http://modules.test", "GOSUMDB=off", "HTTP_PROXY=" + proxy.URL}
	own, err := egress.Start(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, way := range map[string]*egress.Proxy{"of the environment": nil, "of the way to the network": own} {
		clear(asked)
		r, err := resolver.New(t.Context(), resolver.Config{
			Registries: []string{"http://registry.test/registry.json"}, Dir: t.TempDir(), Egress: way, Env: append(env, way.Environ()...),
		})
		if err != nil {
			t.Fatal(err)
		}
		list, err := k6x.ParseList("k6/x/a")
		if err != nil {
			t.Fatal(err)
		}
		found, err := r.Resolve(t.Context(), list)
		if err != nil || len(found.Modules) != 2 || !asked["registry.test"] || !asked["modules.test"] {
			t.Errorf("%s: %+v, %v; asked %v", name, found, err, asked)
		}
	}
}
