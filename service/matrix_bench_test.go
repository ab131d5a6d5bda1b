package service_test

import (
	"net/http"
	"testing"

	"k6x/cache/blob/mem"
)

// BenchmarkMatrix asks for the matrix of a large registry in both forms.
func BenchmarkMatrix(b *testing.B) {
	server := newHistoryServer(b, &mem.Bucket{}, parts{overlay: []string{manyExtensions(b, 10_000)}})
	for name, accept := range map[string]string{"page": browser, "JSON": "Accept: application/json"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if resp, _ := do(b, "GET", server.URL+"/matrix", accept); resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status)
				}
			}
		})
	}
}
