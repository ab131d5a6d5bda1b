package gs

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
)

func TestBucketOfFakeGCSServerKeepsTheContract(t *testing.T) {
	addr := blobtest.FakeGCS(t)
	t.Setenv("STORAGE_EMULATOR_HOST", addr)
	response, err := http.Post("http://"+addr+"/storage/v1/b?project=test", "application/json", strings.NewReader(`{"name":"`+blobtest.BucketName+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	b, err := Open(t.Context(), blobtest.BucketName, url.Values{}, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var cases atomic.Int32
	blobtest.Run(t, func(*testing.T) blob.Bucket { return blob.Prefixed(b, "case "+strconv.Itoa(int(cases.Add(1)))+"/") })
}
