package buildcache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"k6x"
)

// offeredStore is a store that is read through an offer of it.
type offeredStore struct {
	Store // what is offered
	far   Store
}

func (s *offeredStore) Read(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.far.Read(ctx, name)
}

func newOffered(t *testing.T, remote Store) *offeredStore {
	t.Helper()
	return &offeredStore{remote, openOffered(t, NewOffer(remote), "w1")}
}

// openOffered opens an offer by way of a server, as a reader of that name.
func openOffered(t *testing.T, offer *Offer, reader string) Store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := offer.Serve(w, r, reader, strings.TrimPrefix(r.URL.Path, "/base/")); err != nil {
			status := http.StatusInternalServerError
			if k6x.KindOf(err) == k6x.NotFound {
				status = http.StatusNotFound
			}
			if w.Header().Get("Content-Type") != "" {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL + "/base")
	if err != nil {
		t.Fatal(err)
	}
	return OpenOffer(base, server.Client().Do)
}

func TestAnOfferIsOfObjectsAndListsOnly(t *testing.T) {
	remote := openStore(t, "file://"+t.TempDir())
	for _, name := range []string{"secret", "packs/secret", "index/secret"} {
		if err := remote.Write(t.Context(), name, []byte("secret"), nil); err != nil {
			t.Fatal(err)
		}
	}
	offer := NewOffer(remote)
	pack := packName(makeSample("a", 10).output)
	for _, c := range []struct {
		name, query string
		want        k6x.Kind
	}{
		{"secret", "", k6x.NotFound},
		{"packs/secret", "", k6x.NotFound},
		{"index/secret", "", k6x.NotFound},
		{"", "", k6x.NotFound},
		{"packs/", "", k6x.NotFound},
		{"packs/../secret", "", k6x.NotFound},
		{pack + "/../../secret", "", k6x.NotFound},
		{pack, "", k6x.NotFound}, // there is none
		{strings.ToUpper(pack), "", k6x.NotFound},
		{"index", "", k6x.Invalid},
		{"index", "prefix=", k6x.Invalid},
		{"index", "prefix=index/", k6x.Invalid},
		{"index", "prefix=packs/", k6x.Invalid},
		{"index", "prefix=index/..", k6x.Invalid},
		{"index", "prefix=index/a%0a.", k6x.Invalid},
		{"index", "prefix=index/a", k6x.Invalid},
		{"index", "prefix=index/" + strings.Repeat("a", 10_000) + ".", k6x.Invalid},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+c.query, nil)
		if err := offer.Serve(w, r, "w1", c.name); k6x.KindOf(err) != c.want || w.Body.Len() > 0 {
			t.Errorf("%s?%s: %v, %s", c.name, c.query, err, w.Body)
		}
	}
}

func TestWhoOffersNothingHasEmptyLists(t *testing.T) {
	far := openOffered(t, NewOffer(nil), "w1")
	if list := names(t, far, indexPrefix("a")); len(list) != 0 {
		t.Error(list)
	}
	if _, err := far.Read(t.Context(), packName(ID{})); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := far.Write(t.Context(), packName(ID{}), nil, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// brokenStore has objects that are sent as far as body says.
type brokenStore struct {
	Store
	body func() io.Reader
}

func (s *brokenStore) Read(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(s.body()), nil
}

// What breaks off is told from what is all there: it is worth to be tried again.
func TestAnOfferThatBreaksOff(t *testing.T) {
	far := openOffered(t, NewOffer(&brokenStore{body: func() io.Reader {
		return io.MultiReader(strings.NewReader("begun"), iotest.ErrReader(errors.New("the disk fails")))
	}}), "w1")
	body, err := far.Read(t.Context(), packName(ID{}))
	if err == nil {
		defer body.Close()
		_, err = io.ReadAll(body)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestReadersOfAnOfferAreBounded(t *testing.T) {
	begun, release := make(chan struct{}, 2*offerPlaces), make(chan struct{})
	offer := NewOffer(&brokenStore{body: func() io.Reader {
		begun <- struct{}{}
		<-release
		return bytes.NewReader(nil)
	}})
	serve := func(ctx context.Context, reader string) error {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		return offer.Serve(httptest.NewRecorder(), r, reader, packName(ID{}))
	}
	ended := make(chan error, 2*offerPlaces)
	readers := offerPlaces/offerEach + 1
	for n := range readers {
		for range offerEach {
			go func() { ended <- serve(t.Context(), string(rune('a'+n))) }()
		}
	}
	for range offerPlaces {
		<-begun
	}
	busy := 0
	for n := range readers { // each has as many as it may, some of which wait
		for offer.count(string(rune('a'+n))) < offerEach {
			runtime.Gosched()
		}
		if err := serve(t.Context(), string(rune('a'+n))); k6x.KindOf(err) == k6x.Quota {
			busy++
		}
	}
	if busy != readers {
		t.Errorf("%d of %d readers may read more", readers-busy, readers)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := serve(gone, "another"); k6x.KindOf(err) != k6x.Busy {
		t.Error(err)
	}
	close(release)
	for range readers * offerEach {
		if err := <-ended; err != nil && k6x.KindOf(err) != k6x.Busy { // which one that waited may be told on a slow machine
			t.Error(err)
		}
	}
	if len(offer.asks) > 0 || len(offer.places) > 0 {
		t.Errorf("%v are left", offer.asks)
	}
}

type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// As many readers as have all places take nothing. Another one waits for no longer than they may have them.
func TestSlowReadersOfAnOfferLoseTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offer := NewOffer(&brokenStore{body: func() io.Reader { return bytes.NewReader(make([]byte, 1<<20)) }})
		ask := func(reader string) net.Conn {
			client, served := net.Pipe()
			conns := make(pipes, 1)
			conns <- served
			close(conns)
			h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if offer.Serve(w, r, reader, packName(ID{})) != nil {
					panic(http.ErrAbortHandler)
				}
			})}
			go h.Serve(conns)
			io.WriteString(client, "GET / HTTP/1.0\r\n\r\n")
			return client
		}
		for n := range offerPlaces {
			defer ask(string(rune('a' + n/offerEach))).Close()
		}
		synctest.Wait()
		if n := len(offer.places); n != offerPlaces {
			t.Fatalf("%d places are taken", n)
		}
		began, conn := time.Now(), ask("another")
		defer conn.Close()
		answer, err := io.ReadAll(conn)
		if waited := time.Since(began); err != nil || len(answer) < 1<<20 || waited > offerTime {
			t.Errorf("%d bytes after %s, %v", len(answer), waited, err)
		}
		if synctest.Wait(); len(offer.asks) > 0 || len(offer.places) > 0 {
			t.Errorf("%v are left", offer.asks)
		}
	})
}

func (o *Offer) count(reader string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asks[reader]
}

// A cache that fetches what is offered checks it as what it fetches itself.
func TestWhatIsOfferedIsJudged(t *testing.T) {
	remote := openStore(t, "mem://")
	samples := []sample{makeSample("a", 100), makeSample("b", 1<<12)}
	fill(t, remote, "k6@v1", samples...)
	far := openOffered(t, NewOffer(remote), "w1")
	c := newCache(t, Config{Remote: far, ReadOnly: true})
	want(t, start(t, c, "k6@v1"), samples...)
	if n := c.Stats(); n.RemoteHits != int64(len(samples)) || n.ReadFailures != 0 {
		t.Errorf("%+v", n)
	}
	var pack string
	for info, err := range remote.List(t.Context(), packDir) {
		if err != nil {
			t.Fatal(err)
		}
		pack = info.Name
	}
	for name, bytes := range map[string][]byte{"other bytes": []byte("garbage"), "more": bytes.Repeat([]byte{0}, 10<<20)} {
		if err := remote.Write(t.Context(), pack, bytes, nil); err != nil {
			t.Fatal(err)
		}
		c := newCache(t, Config{Remote: far, ReadOnly: true})
		s := start(t, c, "k6@v1")
		for _, x := range samples {
			if has(t, s, x) {
				t.Errorf("%s: it gives %v", name, x.action)
			}
		}
	}
}
