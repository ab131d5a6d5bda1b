package resolver

import "testing"

func BenchmarkResolvePinned(b *testing.B) {
	r := resolverOf(b, newModuleProxy(world), worldRegistry, nil)
	list := parse(b, "k6@v1.8.0,k6/x/builtin@v0.4.0,k6/x/new@v0.3.0")
	if _, err := r.Resolve(b.Context(), list); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Resolve(b.Context(), list)
	}
}

func BenchmarkPermit(b *testing.B) {
	r := resolverOf(b, newModuleProxy(world), worldRegistry, func(cfg *Config) { cfg.Filter = "[?tier=='official']" })
	list := parse(b, "k6@v1.8.0,k6/x/builtin@v0.4.0,k6/x/new@v0.3.0")
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Permit(list); err != nil {
			b.Fatal(err)
		}
	}
}
