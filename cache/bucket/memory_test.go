package bucket

import (
	"bufio"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"k6x"
	"k6x/cache/cachetest"
)

// serveVariable makes this program a server of S3, whose memory is not that of the test.
const serveVariable = "K6X_TEST_SERVE_S3"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) == "" {
		os.Exit(m.Run())
	}
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		panic(err)
	}
	fmt.Println(httptest.NewServer(gofakes3.New(backend).Server()).URL)
	io.Copy(io.Discard, os.Stdin) // until the test ends
}

// serveS3 runs a server in a process of its own and returns its URL.
func serveS3(t *testing.T) string {
	t.Helper()
	newS3(t) // for its environment
	server := exec.CommandContext(t.Context(), os.Args[0])
	server.Env = append(os.Environ(), serveVariable+"=1")
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		server.Wait()
	})
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// allocated returns how many bytes are allocated while work runs, freed or not.
func allocated(work func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestMemoryDoesNotGrowWithTheBinary(t *testing.T) {
	s := mustOpen(t, Config{URL: urlAt(serveS3(t))})
	piece := cachetest.Bytes(1, 1<<20)
	put := func(n, pieces int) {
		_, err := s.Put(t.Context(), cachetest.Recipe(n), func(w io.Writer) (k6x.Build, error) {
			for range pieces {
				if _, err := w.Write(piece); err != nil {
					return k6x.Build{}, err
				}
			}
			return k6x.Build{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(n, pieces int) {
		entry, err := s.Open(t.Context(), key(n))
		if err != nil {
			t.Fatal(err)
		}
		defer entry.Close()
		if size, err := io.Copy(io.Discard, entry.Body); err != nil || size != int64(pieces)<<20 {
			t.Errorf("%d bytes, %v", size, err)
		}
	}
	put(0, 16) // what is allocated once
	read(0, 16)
	small := allocated(func() { put(1, 32); read(1, 32) })
	big := allocated(func() { put(2, 128); read(2, 128) })
	t.Logf("32 MiB: %d KiB allocated, 128 MiB: %d KiB", small>>10, big>>10)
	if big > small+16<<20 { // of 96 MiB more
		t.Errorf("128 MiB take %d bytes, 32 MiB take %d", big, small)
	}
}
