package service_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"k6x/cache/bucket"
	"k6x/internal/difference"
)

const worldPath = "/linux/amd64/k6@v1.1.0,k6/x/world@v0.1.0"

// offering returns the headers of a client that has some bytes.
func offering(has []byte) []string {
	return []string{"Accept-Encoding: dcz", difference.Header + ": " + difference.Name(hexDigest(has))}
}

func TestAClientThatHasAnotherBinaryGetsTheDifference(t *testing.T) {
	server, s := compressing(t, bucket.Memory(bucket.Config{}), "dcz")
	compress(t, s)
	_, hello := do(t, "GET", server.URL+helloPath)
	plain, world := do(t, "GET", server.URL+worldPath)
	const vary, match = "Accept-Encoding, Available-Dictionary", `match="/linux/amd64/*"`
	if plain.Header.Get("Vary") != vary || plain.Header.Get("Use-As-Dictionary") != match {
		t.Errorf("plain: %v", plain.Header)
	}
	var resp *http.Response
	var body []byte
	for end := time.Now().Add(time.Minute); resp == nil || resp.Header.Get("Content-Encoding") == ""; resp, body = do(t, "GET", server.URL+worldPath, offering(hello)...) {
		if time.Now().After(end) {
			t.Fatal("there is no difference")
		}
	}
	h := resp.Header
	if h.Get("Content-Encoding") != "dcz" || h.Get("Vary") != vary || h.Get("Etag") != `"`+hexDigest(body)+`"` || h.Get("Use-As-Dictionary") != match ||
		h.Get("Unencoded-Digest") != plain.Header.Get("Repr-Digest") || h.Get("Repr-Digest") == plain.Header.Get("Repr-Digest") || len(body) > len(world)/50 {
		t.Errorf("%d bytes of %d, %v", len(body), len(world), h)
	}
	r, err := difference.NewReader(bytes.NewReader(body), hello)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, world) {
		t.Errorf("it decodes to %d bytes, %v", len(got), err)
	}
	if resp, _ := do(t, "GET", server.URL+worldPath, append(offering(hello), "If-None-Match: "+h.Get("Etag"))...); resp.StatusCode != http.StatusNotModified {
		t.Errorf("a client that has the difference: %s", resp.Status)
	}
	// Clients without it never get it.
	for name, headers := range map[string][]string{
		"no dictionary":       {"Accept-Encoding: dcz, zstd"},
		"one that is unknown": offering([]byte("unknown")),
		"not asked for":       {"Accept-Encoding: gzip, zstd", offering(hello)[1]},
		"refused":             {"Accept-Encoding: dcz;q=0, *", offering(hello)[1]},
		"malformed":           {"Accept-Encoding: dcz", difference.Header + ": " + hexDigest(hello)},
		"another digest":      {"Accept-Encoding: dcz", difference.Header + ": :AAAA:"},
		"its tag":             {"If-None-Match: " + h.Get("Etag")},
	} {
		if resp, got := do(t, "GET", server.URL+worldPath, headers...); resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Encoding") != "" || !bytes.Equal(got, world) {
			t.Errorf("%s: %s, %q", name, resp.Status, resp.Header.Get("Content-Encoding"))
		}
	}
}

// What cannot be the difference from something is not tried again and again, and costs nothing but that.
func TestWhatIsNoDictionary(t *testing.T) {
	store := &spoilt{Store: bucket.Memory(bucket.Config{}), keys: make(chan string, 10)}
	server, s := compressing(t, store, "dcz")
	_, arm := do(t, "GET", server.URL+"/linux/arm64/k6@v1.1.0")
	_, hello := do(t, "GET", server.URL+helloPath)
	<-store.keys
	<-store.keys
	compress(t, s)
	for name, has := range map[string][]byte{"another platform": arm, "itself": hello} {
		if resp, got := do(t, "GET", server.URL+helloPath, offering(has)...); resp.StatusCode != http.StatusOK || !bytes.Equal(got, hello) {
			t.Errorf("%s: %s", name, resp.Status)
		}
		if _, err := store.Record(t.Context(), <-store.keys); err == nil {
			t.Errorf("%s: something was stored", name)
		}
		for range 3 {
			if resp, got := do(t, "GET", server.URL+helloPath, offering(has)...); resp.Header.Get("Content-Encoding") != "" || !bytes.Equal(got, hello) {
				t.Errorf("%s: %q", name, resp.Header.Get("Content-Encoding"))
			}
		}
	}
	if n := store.puts.Load(); n != 4 {
		t.Errorf("%d things were stored", n)
	}
}

// The bytes of a dictionary that is damaged, or gone, are of no use to a client that has the right ones.
func TestADictionaryThatIsGone(t *testing.T) {
	for name, spoil := range map[string]func(s *spoilt, on bool){
		"damaged": func(s *spoilt, on bool) { s.damaged.Store(on) },
		"cut":     func(s *spoilt, on bool) { s.cut.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			store := &spoilt{Store: bucket.Memory(bucket.Config{}), keys: make(chan string, 10)}
			server, s := compressing(t, store, "dcz")
			_, hello := do(t, "GET", server.URL+helloPath)
			_, world := do(t, "GET", server.URL+worldPath)
			<-store.keys
			<-store.keys
			do(t, "GET", server.URL+worldPath, offering(hello)...)
			spoil(store, true)
			compress(t, s)
			if _, err := store.Record(t.Context(), <-store.keys); err == nil {
				t.Error("a difference from a spoilt binary was stored")
			}
			spoil(store, false)
			for end := time.Now().Add(time.Minute); ; {
				resp, body := do(t, "GET", server.URL+worldPath, offering(hello)...)
				if resp.Header.Get("Content-Encoding") == "dcz" {
					break
				}
				if !bytes.Equal(body, world) || time.Now().After(end) {
					t.Fatalf("%s, and no difference once the bytes are right", resp.Status)
				}
			}
		})
	}
}
