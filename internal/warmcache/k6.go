package warmcache

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"k6x/cache"
)

// EnsureK6 returns once there are shared caches with all that k6 v1.8.1 with k6/x/redis is compiled from, made by the service
// that program is, from nothing. That takes minutes, once for all test processes.
func EnsureK6(program string) error {
	_, release, err := ensure("k6", "v1.8.1", buildK6(program))
	if err != nil {
		return err
	}
	return release()
}

// CopyK6 makes dir a cache directory of a service that has compiled k6 v1.8.1 with k6/x/redis, see [EnsureK6], and has
// neither stored nor learned anything.
func CopyK6(dir, program string) error { return Copy(dir, "k6", "v1.8.1", buildK6(program)) }

func buildK6(program string) func(shared string) error {
	return func(shared string) (err error) {
		cold := shared + "-cold"
		defer func() { err = errors.Join(err, cache.RemoveAll(cold)) }()
		if err := build(program, cold); err != nil {
			return fmt.Errorf("building the real k6 from nothing: %w", err)
		}
		if err := os.MkdirAll(filepath.Join(shared, "go"), 0o755); err != nil {
			return err
		}
		for _, part := range []string{"gocache", "modcache"} {
			if err := os.Rename(filepath.Join(cold, "go", part), filepath.Join(shared, "go", part)); err != nil {
				return err
			}
		}
		return nil
	}
}

var address = regexp.MustCompile(`http://\S+`)

// build has a service on the empty directory dir build one binary, and ends it.
func build(program, dir string) (err error) {
	var log strings.Builder
	service := exec.Command(program, "service", "--addr", "127.0.0.1:0", "--cache-dir", dir)
	service.Stderr = &log
	said, err := service.StdoutPipe()
	if err != nil {
		return err
	}
	if err := service.Start(); err != nil {
		return err
	}
	line, _ := bufio.NewReader(said).ReadString('\n') // of a service that does not start, Wait tells
	if url := address.FindString(line); url != "" {
		err = download(fmt.Sprintf("%s/%s/%s/k6@v1.8.1,k6/x/redis@v0.3.6", url, runtime.GOOS, runtime.GOARCH))
	}
	_ = service.Process.Signal(os.Interrupt) // fails if it has ended
	if err := errors.Join(err, service.Wait()); err != nil {
		return fmt.Errorf("%w\n%s", err, log.String())
	}
	return nil
}

// download gets a binary and compares it with its digest.
func download(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, resp.Body); err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); resp.StatusCode != http.StatusOK || resp.Header.Get("Etag") != `"`+got+`"` {
		return fmt.Errorf("GET %s: %s, the digest is %s and the ETag %s", url, resp.Status, got, resp.Header.Get("Etag"))
	}
	return nil
}
