package service_test

import (
	"net/http"
	"strings"
	"testing"

	"k6x/cache/objects"
	"k6x/service"
)

// A path has the methods of the table and no others, whether or not a method is one that HTTP knows.
func TestAMethodThatAPathDoesNotHave(t *testing.T) {
	server, _ := newServer(t, parts{})
	store, _ := newObjects(t, objects.Config{}, service.ObjectsConfig{})
	for _, c := range []struct{ base, path, allow, kind, words string }{
		{server.URL, "/", "GET, HEAD", "text/plain; charset=utf-8", "Use GET or HEAD.\n"},
		{server.URL, helloPath, "GET, HEAD", "text/plain; charset=utf-8", "Use GET or HEAD.\n"},
		{server.URL, "/metrics", "GET, HEAD", "text/plain; charset=utf-8", "Use GET or HEAD.\n"},
		{server.URL, "/logs/key", "GET, HEAD", "text/plain; charset=utf-8", "Use GET or HEAD.\n"},
		{server.URL, "/progress" + helloPath, "GET, HEAD", "text/plain; charset=utf-8", "Use GET or HEAD.\n"},
		{server.URL, "/build", "GET, HEAD, POST", "application/json", `Use GET or HEAD or POST."`},
		{server.URL, "/build/", "GET, HEAD, POST", "application/json", `Use GET or HEAD or POST."`},
		{server.URL, "/resolve", "POST", "application/json", `Use POST."`},
		{store.URL, "/store/one", "GET, HEAD, POST, PUT", "application/json", `Use one of GET, HEAD, POST, PUT."`},
		{store.URL, "/store/one/download", "GET, HEAD", "application/json", `Use one of GET, HEAD."`},
		{store.URL, "/metrics", "GET, HEAD", "application/json", `Use one of GET, HEAD."`},
	} {
		for _, method := range []string{"DELETE", "BREW"} {
			resp, body := do(t, method, c.base+c.path)
			if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != c.allow || resp.Header.Get("Content-Type") != c.kind ||
				!strings.Contains(string(body), method+" is not allowed here") || !strings.Contains(string(body), c.words) {
				t.Errorf("%s %s: %s, Allow %q, %s: %s", method, c.path, resp.Status, resp.Header.Get("Allow"), resp.Header.Get("Content-Type"), body)
			}
		}
	}
	for _, path := range []string{"/Build", "/build/x", "/api/v1/build", "/k6", "/linux/amd64", "/nothing/here/k6"} {
		for _, method := range []string{"POST", "DELETE", "BREW"} {
			resp, body := send(t, method, server.URL+path, strings.NewReader("{}"))
			if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Allow") != "" || !strings.Contains(string(body), "/build and /resolve") {
				t.Errorf("%s %s: %s: %s", method, path, resp.Status, body)
			}
		}
	}
	if resp, _ := do(t, "BREW", store.URL+"/no/such/path"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("BREW on a path that is in no row: %s", resp.Status)
	}
	if _, metrics := do(t, "GET", server.URL+"/metrics"); !strings.Contains(string(metrics), `k6x_requests_total{outcome="method_not_allowed"} 16`) {
		t.Errorf("they are not counted as what they are:\n%s", metrics)
	}
}
