package blobtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// BucketName is that of the bucket, which is empty, of each server.
const BucketName = "bucket"

// Credentials of the servers that have some.
const (
	AccessKey    = "an-access-key"
	SecretKey    = "a-secret-key"
	AzureAccount = "devstoreaccount1" // of the emulator, with its key that everybody knows
	AzureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Versity runs versitygw, a server of S3, until the test ends, and returns its address.
func Versity(t *testing.T) (addr string) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, BucketName), 0o755); err != nil {
		t.Fatal(err)
	}
	return serve(t, "versitygw", "K6X_TEST_FULL", func(addr string) []string {
		return []string{"--access", AccessKey, "--secret", SecretKey, "--port", addr, "posix", dir}
	})
}

// FakeGCS runs fake-gcs-server, a server of Google Cloud Storage.
func FakeGCS(t *testing.T) (addr string) {
	addr = serve(t, "fake-gcs-server", "K6X_TEST_NIGHTLY", func(addr string) []string {
		host, port, _ := net.SplitHostPort(addr)
		return []string{"-scheme", "http", "-host", host, "-port", port, "-backend", "memory", "-public-host", addr, "-log-level", "error"}
	})
	create(t, http.MethodPost, "http://"+addr+"/storage/v1/b?project=test", nil, `{"name":"`+BucketName+`"}`)
	return addr
}

// Azurite runs azurite, a server of Azure Blob Storage.
func Azurite(t *testing.T) (addr string) {
	dir := t.TempDir()
	addr = serve(t, "azurite-blob", "K6X_TEST_NIGHTLY", func(addr string) []string {
		host, port, _ := net.SplitHostPort(addr)
		return []string{"--blobHost", host, "--blobPort", port, "--location", dir, "--silent", "--disableTelemetry"}
	})
	const version = "2021-12-02"
	date := time.Now().UTC().Format(http.TimeFormat)
	secret, _ := base64.StdEncoding.DecodeString(AzureKey)
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "PUT%sx-ms-date:%s\nx-ms-version:%s\n/%[4]s/%[4]s/%s\nrestype:container", strings.Repeat("\n", 12), date, version, AzureAccount, BucketName)
	create(t, http.MethodPut, "http://"+addr+"/"+AzureAccount+"/"+BucketName+"?restype=container", http.Header{
		"X-Ms-Version": {version}, "X-Ms-Date": {date}, "Authorization": {"SharedKey " + AzureAccount + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}, "")
	return addr
}

// create sends the request that makes the bucket of a server.
func create(t *testing.T, method, url string, header http.Header, body string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body.Close(); response.StatusCode >= 300 {
		t.Fatalf("the bucket cannot be made: %s", response.Status)
	}
}

// Registry runs docker-registry, a registry of images.
func Registry(t *testing.T) (addr string) {
	dir := t.TempDir()
	return serve(t, "docker-registry", "K6X_TEST_FULL", func(addr string) []string {
		config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n", dir, addr)
		file := filepath.Join(dir, "config.yml")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		return []string{"serve", file}
	})
}

// serve runs a server, or skips the test if there is none on PATH, unless a variable asks for all tests.
func serve(t *testing.T, program, required string, args func(addr string) []string) (addr string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv(required) != "" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: %s is not on PATH; .ci/run or .ci/nightly servers runs this", program)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = listener.Addr().String()
	listener.Close()
	var log lockedBuffer
	cmd := exec.Command(path, args(addr)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-gone
		if t.Failed() {
			t.Logf("log of %s:\n%s", program, log.tail())
		}
	})
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		select {
		case <-gone:
			t.Fatal(errors.Join(err, errors.New(program+" has ended")))
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(program + " does not listen")
		}
	}
}

// lockedBuffer is a buffer that several may write to.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.buf.String()
	return text[max(0, len(text)-4000):]
}
