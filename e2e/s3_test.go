package e2e

import (
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	bucketName = "binaries"
	accessKey  = "an-access-key"
	secretKey  = "a-secret-key"
)

// onS3 runs a test on an empty bucket of a real S3 server, or where there is none, of one in
// this process that is like it.
func onS3(t *testing.T, test func(t *testing.T, endpoint string)) {
	t.Run("versitygw", func(t *testing.T) { test(t, startVersity(t)) })
	if _, err := exec.LookPath("versitygw"); err != nil {
		t.Run("gofakes3", func(t *testing.T) { test(t, startFakeS3(t)) })
	}
}

func startVersity(t *testing.T) (endpoint string) {
	gateway, err := exec.LookPath("versitygw")
	if err != nil {
		if nightly {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: versitygw is not on PATH, a server like S3 takes its place; .ci/nightly servers runs this")
	}
	addr, dir := freeAddr(t), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, bucketName), 0o755); err != nil {
		t.Fatal(err)
	}
	gone := attend(t, exec.Command(gateway, "--access", accessKey, "--secret", secretKey, "--port", addr, "posix", dir))
	eventually(t, "versitygw listens", func() bool {
		select {
		case <-gone:
			t.Fatal("versitygw ended")
		default:
		}
		return listens(addr)
	})
	return "http://" + addr
}

func startFakeS3(t *testing.T) (endpoint string) {
	backend := s3mem.New()
	if err := backend.CreateBucket(bucketName); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return server.URL
}

// bucketURL and bucketEnv have k6x use the bucket of a server.
func bucketURL(endpoint string) string {
	return "s3://" + bucketName + "?region=us-east-1&s3ForcePathStyle=true&endpoint=" + url.QueryEscape(endpoint)
}

var bucketEnv = []string{"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_EC2_METADATA_DISABLED=true",
	"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull}

// replica starts a service with an empty cache of binaries on the bucket.
func replica(t *testing.T, endpoint string, args ...string) *k6x {
	t.Helper()
	dir := warmDir(t)
	cmd := serviceCommand(dir, slices.Concat(args, []string{"--store", bucketURL(endpoint)})...)
	cmd.Env = slices.Concat(world.env, bucketEnv)
	s := launch(t, cmd)
	s.cache = dir
	return s
}

// objects returns the names in the bucket that begin with prefix.
func objects(t *testing.T, endpoint, prefix string) (names []string) {
	t.Helper()
	client, err := minio.New(strings.TrimPrefix(endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		t.Fatal(err)
	}
	for object := range client.ListObjectsIter(t.Context(), bucketName, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		names = append(names, object.Key)
	}
	return names
}
