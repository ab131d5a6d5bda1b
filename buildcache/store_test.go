package buildcache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"k6x"
)

func TestStoresKeepObjects(t *testing.T) {
	eachStore(t, func(t *testing.T, remote Store) {
		if list := names(t, remote, indexPrefix("a")); len(list) != 0 {
			t.Errorf("an empty store lists %v", list)
		}
		pack := []byte("a pack")
		id := ID(sha256.Sum256(pack))
		if _, err := remote.Read(t.Context(), packName(id)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening a pack that is not there: %v", err)
		}
		if _, err := remote.Read(t.Context(), indexName("a", time.Now(), pack)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening an index that is not there: %v", err)
		}
		for range 2 { // again does no harm
			if err := remote.Write(t.Context(), packName(id), pack, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, remote, packName(id)); !bytes.Equal(got, pack) {
			t.Errorf("got %q", got)
		}
		body := []byte("an index")
		old, other := indexName("a.b", time.Unix(1, 0), body), indexName("c", time.Unix(2, 0), body)
		for _, name := range []string{old, other} {
			if err := remote.Write(t.Context(), name, body, []packed{{ID: id, Size: int64(len(pack))}}); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, remote, old); !bytes.Equal(got, body) {
			t.Errorf("got %q", got)
		}
		if list := names(t, remote, indexPrefix("a.b")); !slices.Equal(list, []string{old}) {
			t.Errorf("listed %v", list)
		}
		for range 2 {
			if err := remote.Delete(t.Context(), old); err != nil {
				t.Fatal(err)
			}
		}
		if list := names(t, remote, indexDir); !slices.Equal(list, []string{other}) {
			t.Errorf("listed %v", list)
		}
	})
}

func TestARegistryIsUsedAgainAfterItWasAway(t *testing.T) {
	var server *httptest.Server
	var remote Store
	for try := 1; ; try++ {
		server = httptest.NewUnstartedServer(ociregistry.New(ociregistry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
		addr := server.Listener.Addr().String()
		server.Listener.Close() // nobody listens
		remote = openStore(t, "oci://"+addr+"/k6x/go")
		if _, err := listNames(t.Context(), remote, indexDir); err == nil {
			t.Fatal("a list of a registry that is not there")
		}
		listener, err := listen(addr)
		if err == nil {
			server.Listener = listener
			break
		}
		if try == 10 { // somebody else may have taken the port meanwhile, but not each time
			t.Fatal(err)
		}
	}
	server.Start()
	defer server.Close()
	if list := names(t, remote, indexDir); len(list) != 0 {
		t.Errorf("listed %v", list)
	}
}

func TestURLsThatMeanNothingAreRefused(t *testing.T) {
	for _, url := range []string{
		"", "nothing", "ftp://host/dir", "oci://", "oci://host", "oci://host/UPPER", "oci://user:secret@host/repo", "oci://host/repo?tls=no", "oci://host/repo#x",
		"oci://host/repo:tag", "oci://host/repo?insecure=maybe", "s3://user:secret@bucket",
	} {
		s, err := OpenStore(t.Context(), url)
		if err == nil {
			s.Close()
			t.Errorf("%q was opened", url)
			continue
		}
		if k6x.KindOf(err) != k6x.Invalid || k6x.AsError(err).Hint == "" {
			t.Errorf("%q: %v, of kind %v", url, err, k6x.KindOf(err))
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in %q", err)
		}
	}
}
