package blobtest

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"k6x/cache/blob"
	"k6x/cache/blob/dial"
	"k6x/cache/blob/mem"
)

// Each driver keeps the contract of [blob.Bucket]. To add a driver, add a bucket of it, and whether it signs URLs; a case is
// a function of a bucket, named by what it shows, and uses names of its own only.
func TestDriversKeepTheContract(t *testing.T) {
	tests := map[string]func(*testing.T, blob.Bucket){
		"what was put is read back":                        whole,
		"reading goes on from an offset":                   offset,
		"large blobs are whole":                            large,
		"what is missing is fs.ErrNotExist":                missing,
		"a put replaces":                                   replace,
		"a second put that should be first is fs.ErrExist": second,
		"of many that should be first one is":              contended,
		"deleting twice is no error":                       deleting,
		"a list has what begins with the prefix":           listing,
		"a list of many has all":                           many,
		"any name is kept":                                 anyName,
		"a body that breaks leaves nothing":                broken,
		"a body that is too short leaves nothing":          short,
		"a context that has ended leaves nothing":          canceled,
	}
	for name, driver := range drivers {
		t.Run(name, func(t *testing.T) {
			open, tests := driver.bucket(t), maps.Clone(tests)
			if driver.signs {
				tests["a signed URL gives the bytes"] = signed
			} else {
				tests["that there are no signed URLs is said"] = unsigned
			}
			switch driver.puts {
			case copies:
				tests["a copy is of what was read"] = copied
			case anySize:
				tests["a copy is of what was read"] = copied
				tests["a signed request puts once"] = putByOthers
			case strict:
				tests["a copy is of what was read"] = copied
				tests["a signed request puts once"] = putByOthers
				tests["a signed request puts what has the size"] = putOfASize
			case none:
				tests["that there are no signed requests to put is said"] = closed
			}
			for name, test := range tests {
				t.Run(name, func(t *testing.T) { test(t, open(t)) })
			}
		})
	}
}

// drivers have how to open an empty bucket for each case.
var drivers = map[string]struct {
	signs  bool
	puts   puts
	bucket func(t *testing.T) func(t *testing.T) blob.Bucket
}{
	"memory": {false, none, func(*testing.T) func(*testing.T) blob.Bucket {
		return func(*testing.T) blob.Bucket { return new(mem.Bucket) }
	}},
	"a part of memory": {false, none, func(*testing.T) func(*testing.T) blob.Bucket {
		return func(*testing.T) blob.Bucket { return blob.Prefixed(new(mem.Bucket), "some/where/") }
	}},
	"a directory": {false, none, func(*testing.T) func(*testing.T) blob.Bucket {
		return func(t *testing.T) blob.Bucket {
			return mustDial(t, "file://"+filepath.ToSlash(t.TempDir())+"/made/by us")
		}
	}},
	"S3 in this process": {true, lax, func(t *testing.T) func(*testing.T) blob.Bucket {
		backend := s3mem.New()
		if err := backend.CreateBucket(BucketName); err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(gofakes3.New(backend).Server())
		t.Cleanup(server.Close)
		return inS3(t, strings.TrimPrefix(server.URL, "http://"))
	}},
	"versitygw": {true, strict, func(t *testing.T) func(*testing.T) blob.Bucket { return inS3(t, Versity(t)) }},
	"fake-gcs-server": {false, copies, func(t *testing.T) func(*testing.T) blob.Bucket {
		t.Setenv("STORAGE_EMULATOR_HOST", FakeGCS(t))
		return parts(t, "gs://"+BucketName)
	}},
	"azurite": {true, anySize, func(t *testing.T) func(*testing.T) blob.Bucket {
		for _, name := range []string{"DOMAIN", "PROTOCOL", "IS_CDN", "IS_LOCAL_EMULATOR", "SAS_TOKEN", "CONNECTION_STRING"} {
			t.Setenv("AZURE_STORAGE_"+name, "")
		}
		t.Setenv("AZURE_STORAGEBLOB_CONNECTIONSTRING", "")
		t.Setenv("AZURE_STORAGE_ACCOUNT", AzureAccount)
		t.Setenv("AZURE_STORAGE_KEY", AzureKey)
		return parts(t, "azblob://"+BucketName+"?localemu=true&protocol=http&domain="+Azurite(t))
	}},
}

// puts says what signed requests to put, and copies, a driver has.
type puts int

const (
	none puts = iota
	strict
	anySize
	copies // without signed requests
	lax    // with a server that checks neither signatures nor conditions
)

// inS3 returns parts of the bucket of a server of S3.
func inS3(t *testing.T, addr string) func(*testing.T) blob.Bucket {
	for _, name := range []string{"PROFILE", "REGION", "DEFAULT_REGION", "ENDPOINT_URL", "ENDPOINT_URL_S3", "SESSION_TOKEN",
		"USE_FIPS_ENDPOINT", "USE_DUALSTACK_ENDPOINT", "WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv("AWS_"+name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_ACCESS_KEY_ID", AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", SecretKey)
	return parts(t, "s3://"+BucketName+"?s3ForcePathStyle=true&endpoint=http://"+addr)
}

// parts returns parts of a bucket, another one each time.
func parts(t *testing.T, url string) func(*testing.T) blob.Bucket {
	b, cases := mustDial(t, url), 0
	return func(*testing.T) blob.Bucket {
		cases++
		return blob.Prefixed(b, fmt.Sprintf("case %d/", cases))
	}
}

func mustDial(t *testing.T, address string) blob.Bucket {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	b, err := dial.Open(t.Context(), u, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// fill returns n bytes that differ by seed.
func fill(seed, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*7 + i>>8 + seed)
	}
	return data
}

func mustPut(t *testing.T, b blob.Bucket, name string, data []byte) blob.Info {
	t.Helper()
	info, err := b.Put(t.Context(), name, bytes.NewReader(data), int64(len(data)), blob.PutOptions{ContentType: "application/octet-stream"})
	if err != nil {
		t.Fatalf("Put of %q: %v", name, err)
	}
	return info
}

func wantBytes(t *testing.T, b blob.Bucket, name string, offset int64, want []byte) {
	t.Helper()
	body, info, err := b.Open(t.Context(), name, offset)
	if err != nil {
		t.Fatalf("Open of %q: %v", name, err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, want[offset:]) {
		t.Errorf("%q from %d: got %d bytes, %v, want %d", name, offset, len(got), err, len(want)-int(offset))
	}
	if info.Size != int64(len(want)) {
		t.Errorf("%q from %d: the size is %d, want that of the whole blob, %d", name, offset, info.Size, len(want))
	}
}

func wantAbsent(t *testing.T, b blob.Bucket, name string) {
	t.Helper()
	if _, err := b.Stat(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of %q: got %v, want fs.ErrNotExist", name, err)
	}
	if body, _, err := b.Open(t.Context(), name, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of %q: got %v, want fs.ErrNotExist", name, err)
		if err == nil {
			body.Close()
		}
	}
}

func whole(t *testing.T, b blob.Bucket) {
	for _, size := range []int{0, 1, 1000} {
		name, data := fmt.Sprintf("blob/%d", size), fill(size, size)
		before := time.Now()
		put := mustPut(t, b, name, data)
		wantBytes(t, b, name, 0, data)
		info, err := b.Stat(t.Context(), name)
		if err != nil || info.Name != name || info.Size != int64(size) || info.ETag == "" || info.ModTime.Sub(before).Abs() > time.Hour {
			t.Errorf("Stat of %q: %+v, %v", name, info, err)
		}
		if put.ETag != "" && put.ETag != info.ETag {
			t.Errorf("%q has the ETag %q, that of its Put was %q", name, info.ETag, put.ETag)
		}
		sum := md5.Sum(data)
		for _, i := range []blob.Info{put, info} {
			if i.MD5 != nil && !bytes.Equal(i.MD5, sum[:]) {
				t.Errorf("%q: MD5 is %x, want %x", name, i.MD5, sum)
			}
		}
	}
}

func offset(t *testing.T, b blob.Bucket) {
	data := fill(1, 100_000)
	mustPut(t, b, "some", data)
	for _, at := range []int64{1, 5000, 99_999} {
		wantBytes(t, b, "some", at, data)
	}
}

func large(t *testing.T, b blob.Bucket) {
	for _, size := range []int{blob.PartSize, 2*blob.PartSize + 12345} {
		data := fill(size, size)
		mustPut(t, b, "large", data)
		wantBytes(t, b, "large", 0, data)
		wantBytes(t, b, "large", blob.PartSize-1, data)
	}
}

func missing(t *testing.T, b blob.Bucket) {
	wantAbsent(t, b, "some")
	wantAbsent(t, b, "dir/some")
	mustPut(t, b, "dir/some", []byte("x"))
	wantAbsent(t, b, "dir")
	wantAbsent(t, b, "dir/som")
}

func replace(t *testing.T, b blob.Bucket) {
	first := mustPut(t, b, "some", []byte("first"))
	second := mustPut(t, b, "some", []byte("second, longer"))
	wantBytes(t, b, "some", 0, []byte("second, longer"))
	if first.ETag != "" && first.ETag == second.ETag {
		t.Error("the ETag has not changed")
	}
}

func second(t *testing.T, b blob.Bucket) {
	put := func(text string) error {
		return blob.PutBytes(t.Context(), b, "some", []byte(text), blob.PutOptions{IfAbsent: true})
	}
	if err := put("first"); err != nil {
		t.Fatal(err)
	}
	if err := put("second"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	wantBytes(t, b, "some", 0, []byte("first"))
	if err := b.Delete(t.Context(), "some"); err != nil {
		t.Fatal(err)
	}
	if err := put("third"); err != nil {
		t.Errorf("after it was deleted: %v", err)
	}
}

func contended(t *testing.T, b blob.Bucket) {
	var all sync.WaitGroup
	var firsts atomic.Int32
	for n := range 8 {
		all.Go(func() {
			err := blob.PutBytes(t.Context(), b, "some", fill(n, 100), blob.PutOptions{IfAbsent: true})
			for errors.Is(err, blob.ErrContended) {
				err = blob.PutBytes(t.Context(), b, "some", fill(n, 100), blob.PutOptions{IfAbsent: true})
			}
			if err == nil {
				firsts.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("got %v, want fs.ErrExist", err)
			}
		})
	}
	all.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d were the first", n)
	}
}

func deleting(t *testing.T, b blob.Bucket) {
	mustPut(t, b, "some", []byte("x"))
	for range 2 {
		if err := b.Delete(t.Context(), "some"); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	wantAbsent(t, b, "some")
}

func listing(t *testing.T, b blob.Bucket) {
	all := []string{"a/1", "a/10", "a/2", "a/b/1", "ab", "b/1"}
	for _, name := range all {
		mustPut(t, b, name, []byte(name))
	}
	for prefix, want := range map[string][]string{
		"": all, "a": all[:5], "a/": all[:4], "a/1": all[:2], "a/b/": all[3:4], "b/": all[5:], "c": nil, "c/": nil, "a/1/": nil,
	} {
		if got := Names(t, b, prefix); !slices.Equal(got, want) {
			t.Errorf("below %q: got %q, want %q", prefix, got, want)
		}
	}
	for info, err := range b.List(t.Context(), "") {
		if err != nil || info.Size != int64(len(info.Name)) || info.ModTime.IsZero() || info.ETag == "" {
			t.Errorf("%+v, %v", info, err)
		}
	}
}

func many(t *testing.T, b blob.Bucket) {
	const n = 1100 // more than a page has
	var all sync.WaitGroup
	names := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range names {
				if err := blob.PutBytes(t.Context(), b, fmt.Sprintf("many/%04d", i), []byte("x"), blob.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		names <- i
	}
	close(names)
	all.Wait()
	if got := len(Names(t, b, "many/")); got != n {
		t.Errorf("%d of %d are listed", got, n)
	}
	seen := 0
	for range b.List(t.Context(), "many/") {
		if seen++; seen == 10 {
			break // without harm
		}
	}
}

func anyName(t *testing.T, b blob.Bucket) {
	names := []string{"a b/c+d", "ünïcödé/日本", "a__0x2f__b", "a&b=c;d", "per%cent", "a../b", "x\ny", "UPPER", "-_.~!$'()*,@"}
	for _, name := range names {
		mustPut(t, b, name, []byte(name))
	}
	for _, name := range names {
		wantBytes(t, b, name, 0, []byte(name))
	}
	slices.Sort(names)
	if got := Names(t, b, ""); !slices.Equal(got, names) {
		t.Errorf("listed %q, want %q", got, names)
	}
}

// brokenBody fails in its middle.
type brokenBody struct{ io.ReaderAt }

var errBroken = errors.New("the disk is broken")

func (b brokenBody) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > 5000 {
		return 0, errBroken
	}
	return b.ReaderAt.ReadAt(p, offset)
}

func broken(t *testing.T, b blob.Bucket) {
	for _, size := range []int{10_000, 2 * blob.PartSize} {
		mustFail(t, b, brokenBody{bytes.NewReader(fill(1, size))}, int64(size))
	}
}

func short(t *testing.T, b blob.Bucket) { mustFail(t, b, bytes.NewReader(fill(1, 999)), 1000) }

// mustFail puts a blob that is worth nothing.
func mustFail(t *testing.T, b blob.Bucket, body io.ReaderAt, size int64) {
	t.Helper()
	if _, err := b.Put(t.Context(), "fresh", body, size, blob.PutOptions{}); err == nil {
		t.Error("no error")
	}
	wantAbsent(t, b, "fresh")
	mustPut(t, b, "some", []byte("old"))
	if _, err := b.Put(t.Context(), "some", body, size, blob.PutOptions{}); err == nil {
		t.Error("no error")
	}
	wantBytes(t, b, "some", 0, []byte("old"))
}

func canceled(t *testing.T, b blob.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Put(ctx, "some", bytes.NewReader([]byte("x")), 1, blob.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: got %v, want that of the context", err)
	}
	if _, _, err := b.Open(ctx, "some", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: got %v, want that of the context", err)
	}
	var listed error
	for _, err := range b.List(ctx, "") {
		listed = err
	}
	if !errors.Is(listed, context.Canceled) {
		t.Errorf("List: got %v, want that of the context", listed)
	}
	wantAbsent(t, b, "some")
}

func unsigned(t *testing.T, b blob.Bucket) {
	if url, err := b.SignedURL(t.Context(), "some", time.Minute); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %q, %v", url, err)
	}
}

func signed(t *testing.T, b blob.Bucket) {
	data := fill(1, 1000)
	info, err := b.Put(t.Context(), "some/k6", bytes.NewReader(data), int64(len(data)), blob.PutOptions{
		ContentType: "application/octet-stream", Disposition: `attachment; filename="k6"`,
	})
	if err != nil || info.Size != int64(len(data)) {
		t.Fatalf("Put: %+v, %v", info, err)
	}
	url, err := b.SignedURL(t.Context(), "some/k6", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Equal(got, data) {
		t.Errorf("status %s, %d bytes, %v", response.Status, len(got), err)
	}
	if name := response.Header.Get("Content-Disposition"); name != `attachment; filename="k6"` {
		t.Errorf("Content-Disposition is %q", name)
	}
}

func closed(t *testing.T, b blob.Bucket) {
	if request, err := b.SignedPut(t.Context(), "some", 1, time.Minute); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SignedPut: got %v, %v", request, err)
	}
	info := mustPut(t, b, "some", []byte("x"))
	if info, err := b.Copy(t.Context(), "some", info.ETag, "other", blob.PutOptions{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Copy: got %v, %v", info, err)
	}
	wantAbsent(t, b, "other")
}

// do sends a signed request, and returns the status of the answer.
func do(t *testing.T, signed blob.SignedRequest, method string, data []byte) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, signed.URL, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range signed.Header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func putByOthers(t *testing.T, b blob.Bucket) {
	ctx, data := t.Context(), fill(1, 1000)
	signed, err := b.SignedPut(ctx, "staging/some one", int64(len(data)), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if status := do(t, signed, http.MethodPut, data); status/100 != 2 {
		t.Fatalf("it cannot be put: status %d", status)
	}
	wantBytes(t, b, "staging/some one", 0, data)
	for what, request := range map[string]struct {
		method string
		data   []byte
	}{"put again": {http.MethodPut, fill(2, len(data))}, "got": {http.MethodGet, nil}, "deleted": {http.MethodDelete, nil}} {
		if status := do(t, signed, request.method, request.data); status/100 == 2 {
			t.Errorf("it can be %s: status %d", what, status)
		}
	}
	if signed, err = b.SignedPut(ctx, "staging/late", 1000, time.Second); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2100 * time.Millisecond) // it has whole seconds
	if status := do(t, signed, http.MethodPut, fill(1, 1000)); status/100 == 2 {
		t.Error("it can be put when the time is over")
	}
}

func putOfASize(t *testing.T, b blob.Bucket) {
	signed, err := b.SignedPut(t.Context(), "some", 1000, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{999, 1001} {
		if status := do(t, signed, http.MethodPut, fill(1, size)); status/100 == 2 {
			t.Errorf("%d bytes can be put in place of 1000", size)
		}
	}
	wantAbsent(t, b, "some")
}

func copied(t *testing.T, b blob.Bucket) {
	ctx, data := t.Context(), fill(1, blob.PartSize+1)
	mustPut(t, b, "staging/some one", data)
	body, info, err := b.Open(ctx, "staging/some one", 0)
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	name := "a/copy of it"
	if got, err := b.Copy(ctx, "staging/some one", info.ETag, name, blob.PutOptions{ContentType: "text/x-test", Disposition: `attachment; filename="k6"`}); err != nil || got.Name != name {
		t.Errorf("Copy: got %+v, %v", got, err)
	}
	wantBytes(t, b, name, 0, data)
	wantBytes(t, b, "staging/some one", 0, data)
	if url, err := b.SignedURL(ctx, name, time.Minute); err == nil {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		for name, want := range map[string]string{"Content-Type": "text/x-test", "Content-Disposition": `attachment; filename="k6"`} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s of the copy: got %q, want %q", name, got, want)
			}
		}
	}
	if _, err := b.Copy(ctx, "staging/none", info.ETag, "other", blob.PutOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Copy of none: got %v, want fs.ErrNotExist", err)
	}
	mustPut(t, b, "staging/some one", fill(3, len(data)))
	if got, err := b.Copy(ctx, "staging/some one", info.ETag, "other", blob.PutOptions{}); err == nil {
		t.Errorf("Copy of what has changed: got %+v, want an error", got)
	}
	wantAbsent(t, b, "other")
}
