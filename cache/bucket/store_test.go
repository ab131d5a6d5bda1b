package bucket

import (
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob/blobtest"
	"k6x/cache/cachetest"
)

// names returns the names of all objects that begin with prefix.
func names(t *testing.T, s *Store, prefix string) []string {
	t.Helper()
	return blobtest.Names(t, s.bucket, prefix)
}

func TestBadURLsAreInvalidAndSayWhatToWrite(t *testing.T) {
	newS3(t)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for _, url := range []string{"", "bucket", "/dir", "ftp://bucket", "s3:bucket", "s3://bucket", "s3://", "s3://bucket?region=x&unknown=1",
		"s3://user:hunter2@bucket?region=x", "s3://bucket?region=x&endpoint=ftp://host", "s3://bucket?endpoint=http://user:hunter2@host",
		"mem://?unknown=hunter2&x=%zz", "file:///dir?unknown=1", "file:///dir?base_url=http://localhost&secret_key_path=key", "azblob://container?unknown=1", "://"} {
		s, err := Open(t.Context(), Config{URL: url})
		if err == nil {
			s.Close()
		}
		if k6x.KindOf(err) != k6x.Invalid || err == nil || k6x.AsError(err).Hint == "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v of kind %v, want Invalid with a hint and without the password", url, err, k6x.KindOf(err))
		}
	}
}

func TestBucketThatDoesNotExistIsInvalid(t *testing.T) {
	url := strings.Replace(newS3(t).url(""), "s3://bucket", "s3://other", 1)
	if _, err := Open(t.Context(), Config{URL: url}); k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("got %v, want Invalid", err)
	}
}

func TestStoresOnOneBucketAgree(t *testing.T) {
	for name, url := range map[string]string{
		"S3":        newS3(t).url(""),
		"directory": "file://" + filepath.ToSlash(t.TempDir()),
	} {
		t.Run(name, func(t *testing.T) {
			const writers = 6
			var inFill, done sync.WaitGroup
			inFill.Add(writers)
			records, bound := make([]k6x.Artifact, writers), make([]string, writers)
			for n := range writers {
				s := mustOpen(t, Config{URL: url})
				mustPut(t, s, 100+n, 100)
				done.Go(func() {
					var err error
					records[n], err = s.Put(t.Context(), cachetest.Recipe(1), func(w io.Writer) (k6x.Build, error) {
						inFill.Done()
						inFill.Wait()
						return cachetest.Fill(cachetest.Bytes(uint64(n), 10_000))(w)
					})
					if err != nil {
						t.Errorf("Put: %v", err)
					}
					if bound[n], err = s.Bind(t.Context(), "/linux/amd64/k6@v1.8.1", key(100+n)); err != nil {
						t.Errorf("Bind: %v", err)
					}
				})
			}
			done.Wait()
			for n := range writers {
				if diff := cmp.Diff(records[0], records[n]); diff != "" || bound[n] != bound[0] {
					t.Errorf("two stores do not agree: bound to %s and %s, records:\n%s", bound[0], bound[n], diff)
				}
			}
			s := mustOpen(t, Config{URL: url})
			want := []string{s.binary(key(1), records[0].Digest), s.record(key(1))}
			if diff := cmp.Diff(want, names(t, s, artifacts+key(1)+"/")); diff != "" {
				t.Errorf("in the bucket (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDamageIsAnErrorAndChangesNothing(t *testing.T) {
	s := mustOpen(t, Config{URL: "mem://"})
	mustPut(t, s, 1, 1000)
	mustPut(t, s, 2, 1000)
	path := cachetest.Recipe(1).Path()
	if _, err := s.Bind(t.Context(), path, key(1)); err != nil {
		t.Fatal(err)
	}
	other, err := s.get(t.Context(), s.record(key(2)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"", "<html>sign in</html>", "{}", `{"path":"/x/y/z","key":"x"}`, string(other), strings.Repeat("x", maxBinding+1)} {
		for _, name := range []string{s.record(key(1)), s.binding(path)} {
			if err := s.put(t.Context(), name, []byte(damage)); err != nil {
				t.Fatal(err)
			}
		}
		_, record := s.Record(t.Context(), key(1))
		_, open := s.Open(t.Context(), key(1))
		_, put := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill([]byte("other")))
		_, lookup := s.Lookup(t.Context(), path)
		for what, err := range map[string]error{"Record": record, "Open": open, "Put": put, "Lookup": lookup} {
			if err == nil || k6x.KindOf(err) != k6x.Internal || errors.Is(err, cache.ErrNotFound) {
				t.Errorf("%.20q: %s: got %v, want Internal", damage, what, err)
			}
		}
	}
}

func TestBinaryOfAnotherSizeIsMadeAgain(t *testing.T) {
	s := mustOpen(t, Config{URL: "mem://"})
	artifact := mustPut(t, s, 1, 1000)
	if err := s.put(t.Context(), s.binary(key(1), artifact.Digest), []byte("half")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), key(1)); !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("got %v, want ErrEvicted", err)
	}
	mustPut(t, s, 1, 1000)
	wantBytes(t, s, 1, 1000)
}

func TestImportRefusesBytesThatAreNotThoseOfTheRecord(t *testing.T) {
	s := mustOpen(t, Config{URL: "mem://"})
	artifact := mustPut(t, mustOpen(t, Config{URL: "mem://"}), 1, 1000)
	for _, body := range []string{"", "short", string(cachetest.Bytes(2, 1000)), string(cachetest.Bytes(1, 2000))} {
		if _, _, err := s.Import(t.Context(), artifact, false, strings.NewReader(body)); k6x.KindOf(err) != k6x.Internal {
			t.Errorf("%d bytes: got %v, want Internal", len(body), err)
		}
		if left := names(t, s, ""); len(left) > 0 {
			t.Errorf("left in the bucket: %v", left)
		}
	}
	imported, _, err := s.Import(t.Context(), artifact, false, strings.NewReader(string(cachetest.Bytes(1, 1000))))
	if diff := cmp.Diff(artifact, imported); err != nil || diff != "" {
		t.Errorf("%v, record (-want +got):\n%s", err, diff)
	}
}

func TestTrimRemovesTheOldestBinariesOnly(t *testing.T) {
	now := time.Now()
	s := mustOpen(t, Config{URL: "mem://", Size: 25_000, Clock: func() time.Time { return now }})
	first := mustPut(t, s, 0, 10_000)
	for n := 1; n < 3; n++ {
		mustPut(t, s, n, 10_000)
	}
	trim := func() cache.Stats {
		t.Helper()
		if err := s.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.Stats()
	}
	if stats := trim(); stats.Artifacts != 3 || stats.Evicted != 0 || stats.Bytes < 30_000 {
		t.Errorf("young ones: %+v", stats)
	}
	now = now.Add(2 * time.Hour)
	if stats := trim(); stats.Artifacts != 2 || stats.Evicted != 1 || stats.Evictions != 1 || stats.Bytes > 25_000 || stats.Limit != 25_000 {
		t.Errorf("old ones: %+v", stats)
	}
	if _, err := s.Open(t.Context(), key(0)); !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("Open of the oldest: %v, want ErrEvicted", err)
	}
	wantBytes(t, s, 1, 10_000)
	wantBytes(t, s, 2, 10_000)

	if _, err := s.Put(t.Context(), cachetest.Recipe(0), cachetest.Fill([]byte("other"))); k6x.KindOf(err) != k6x.Internal {
		t.Errorf("Put of other bytes: %v, want Internal", err)
	}
	if diff := cmp.Diff(first, mustPut(t, s, 0, 10_000)); diff != "" {
		t.Errorf("the record changed:\n%s", diff)
	}
	wantBytes(t, s, 0, 10_000)
}

func TestTrimSweepsWhatNothingNames(t *testing.T) {
	now := time.Now()
	s := mustOpen(t, Config{URL: "mem://", Clock: func() time.Time { return now }})
	mustPut(t, s, 1, 1000)
	want := names(t, s, "")
	for _, name := range []string{s.binary(key(1), strings.Repeat("a", 64)), s.binary(key(2), strings.Repeat("b", 64)), leaseName(key(3), 1), noteName(key(3), 2), staging + "x"} {
		if err := s.put(t.Context(), name, []byte("left")); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		later time.Duration
		want  int
	}{{0, 5}, {61 * time.Minute, 4}, {25 * time.Hour, 0}} {
		now = now.Add(step.later)
		if err := s.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := names(t, s, ""); len(got) != len(want)+step.want {
			t.Errorf("after %v: %v", step.later, got)
		}
	}
	wantBytes(t, s, 1, 1000)
}

func TestSignedURLGivesTheBytes(t *testing.T) {
	s := mustOpen(t, Config{URL: newS3(t).url("&prefix=here")})
	if _, err := s.SignedURL(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	mustPut(t, s, 1, 1000)
	url, err := s.SignedURL(t.Context(), key(1))
	if err != nil || !strings.Contains(url, "X-Amz-Expires=900") {
		t.Fatalf("got %s, %v", url, err)
	}
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || string(got) != string(cachetest.Bytes(1, 1000)) {
		t.Errorf("status %s, %d bytes, %v", response.Status, len(got), err)
	}
	if name := response.Header.Get("Content-Disposition"); name != `attachment; filename="k6"` {
		t.Errorf("Content-Disposition: %s", name)
	}
}

func TestBucketWithoutSignedURLsSaysSo(t *testing.T) {
	s := mustOpen(t, Config{URL: "mem://"})
	mustPut(t, s, 1, 1000)
	if _, err := s.SignedURL(t.Context(), key(1)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}
