package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"k6x/internal/chromiumtest"
)

// offered is the header of a client that has a binary.
func offered(has []byte) string {
	sum := sha256.Sum256(has)
	return "Available-Dictionary: :" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// difference asks for a binary as the difference from another one that the client has, until there is one, and checks what comes of it.
func difference(t *testing.T, url string, has, want []byte) answer {
	t.Helper()
	var a answer
	eventually(t, "the difference is made", func() bool {
		a = get(t, url, "Accept-Encoding: dcz", offered(has))
		return a.header.Get("Content-Encoding") == "dcz"
	})
	d, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(0, has), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, err := d.DecodeAll(a.body, nil); a.status != http.StatusOK || err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d, it decodes to %d bytes, %v", url, a.status, len(got), err)
	}
	return a
}

// Ten pairs of combinations of the real k6; at night all pairs of ten of them and of a k6 of two years before.
func TestNeighboursByDifference(t *testing.T) {
	forFull(t)
	t.Parallel()
	s := start(t, warmDir(t))
	const two = ",k6/x/two@v0.2.0"
	var urls []string
	var binaries [][]byte
	const old = "k6@v0.52.0"
	lists := []string{"k6@v1.8.1", redisList, "k6@v1.8.1" + two, redisList + two}
	most := 10
	if nightly {
		const one, newer, redis = ",k6/x/one@v0.1.0", ",k6/x/newer@v0.1.0", ",k6/x/redis@v0.3.6"
		for _, with := range []string{one, newer, newer + redis, one + redis, one + redis + two, one + two} {
			lists = append(lists, "k6@v1.8.1"+with)
		}
		lists = append(lists, old)
		most = len(lists) * len(lists)
	}
	for _, list := range lists {
		urls = append(urls, s.url+host+list)
		binaries = append(binaries, fetch(t, s.url+host+list).body)
	}
	pairs := 0
	for i, url := range urls {
		for j, has := range binaries {
			if i == j || pairs == most {
				continue
			}
			pairs++
			a := difference(t, url, has, binaries[i])
			t.Logf("%d bytes of %d from %s to %s", len(a.body), len(binaries[i]), urls[j], url)
			if strings.Contains(url, old) || strings.Contains(urls[j], old) { // nearly all of it is another program
				continue
			}
			if len(a.body) > len(binaries[i])/10 {
				t.Errorf("%d bytes of %d from %s to %s", len(a.body), len(binaries[i]), urls[j], url)
			}
		}
	}
}

// A cache gives a difference to clients that have what it is from, and to no others.
func TestCachesKeepDifferencesApart(t *testing.T) {
	forFull(t)
	t.Parallel()
	for name, startCache := range caches {
		t.Run(name, func(t *testing.T) {
			program(t, name)
			s := start(t, warmDir(t))
			plain, redis := fetch(t, s.url+host+"k6@v1.8.1"), fetch(t, s.url+host+redisList)
			direct := difference(t, s.url+host+redisList, plain.body, redis.body)
			base := startCache(t, s)
			for range 3 {
				for _, headers := range [][]string{
					{"Accept-Encoding: dcz", offered(plain.body)},
					{"Accept-Encoding: dcz, zstd;q=0"},
					{"Accept-Encoding: dcz", "Available-Dictionary: :" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + ":"},
					nil,
				} {
					a := get(t, base+host+redisList, headers...)
					switch a.header.Get("Content-Encoding") {
					case "":
						if !bytes.Equal(a.body, redis.body) {
							t.Errorf("%q: %d with %d other bytes", headers, a.status, len(a.body))
						}
					default:
						if len(headers) < 2 || headers[1] == "" || !bytes.Equal(a.body, direct.body) || bytes.Contains([]byte(headers[1]), []byte("AAAAAAAA")) {
							t.Errorf("%q: it comes in %s", headers, a.header.Get("Content-Encoding"))
						}
					}
				}
			}
		})
	}
}

// A browser, which knows the coding where it is safe to (over TLS), gets a difference from what it has, and the bytes that it stands for.
func TestABrowserTakesDifferences(t *testing.T) {
	b := chromiumtest.New(t)
	s := start(t, warmDir(t))
	service, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	type sent struct{ path, has, coding string }
	var mu sync.Mutex
	var answers []sent
	proxy := httputil.NewSingleHostReverseProxy(service)
	proxy.ModifyResponse = func(resp *http.Response) error {
		mu.Lock()
		defer mu.Unlock()
		answers = append(answers, sent{resp.Request.URL.Path, resp.Request.Header.Get("Available-Dictionary"), resp.Header.Get("Content-Encoding")})
		return nil
	}
	tls := httptest.NewUnstartedServer(proxy)
	tls.EnableHTTP2 = true
	tls.StartTLS()
	t.Cleanup(tls.Close)
	plain, redis := fetch(t, s.url+host+"k6@v1.8.1"), fetch(t, s.url+host+redisList)

	b.Open(tls.URL + "/version")
	digest := func(path string) string {
		return chromiumtest.Eval[string](b, `(async () => {
			const body = await (await fetch("`+path+`")).arrayBuffer();
			const sum = await crypto.subtle.digest("SHA-256", body);
			return Array.from(new Uint8Array(sum), n => n.toString(16).padStart(2, "0")).join("");
		})()`)
	}
	difference(t, s.url+host+redisList, plain.body, redis.body) // or the first one would come as a whole
	for _, want := range []struct {
		list string
		answer
	}{{"k6@v1.8.1", plain}, {redisList, redis}} {
		if got := digest(host + want.list); got != want.digest() {
			t.Errorf("%s: the browser has %s, not %s", want.list, got, want.digest())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if last := answers[len(answers)-1]; last.coding != "dcz" || last.has == "" {
		t.Errorf("%v", answers)
	}
}
