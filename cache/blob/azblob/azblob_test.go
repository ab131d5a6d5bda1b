package azblob

import (
	"net/url"
	"testing"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
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

var noOptions blob.PutOptions
