package azblob

import (
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/blob/internal/rest"
)

// clean gives the test an environment without credentials.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING",
		"AZURE_STORAGE_DOMAIN", "AZURE_STORAGE_PROTOCOL", "AZURE_STORAGE_IS_CDN", "AZURE_STORAGE_IS_LOCAL_EMULATOR",
	} {
		t.Setenv(name, "")
	}
}

func mustOpen(t *testing.T, params string) *Bucket {
	t.Helper()
	values, err := url.ParseQuery(params)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(blobtest.BucketName, values, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestBucketOfAzuriteKeepsTheContract(t *testing.T) {
	clean(t)
	addr := blobtest.Azurite(t)
	t.Setenv("AZURE_STORAGE_ACCOUNT", blobtest.AzureAccount)
	t.Setenv("AZURE_STORAGE_KEY", blobtest.AzureKey)
	b := mustOpen(t, "localemu=true&protocol=http&domain="+addr)
	createContainer(t, b)
	var cases atomic.Int32
	blobtest.Run(t, func(*testing.T) blob.Bucket { return blob.Prefixed(b, "case "+strconv.Itoa(int(cases.Add(1)))+"/") })
}

var noOptions blob.PutOptions

func createContainer(t *testing.T, b *Bucket) {
	t.Helper()
	if err := b.client.Discard(t.Context(), rest.Request{Method: http.MethodPut, URL: b.url("", url.Values{"restype": {"container"}})}); err != nil {
		t.Fatal(err)
	}
}
