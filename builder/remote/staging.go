package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/cache/blob"
	"k6x/cache/bucket"
)

// room returns the request by which the worker puts a binary of so many bytes into the bucket; nil: it is to send it. The room is there as long as the job is
// under way, also while what was built is stored.
func (t *task) room(size int64) (*blob.SignedRequest, error) {
	switch {
	case size > t.hub.cfg.Most:
		return nil, t.tooMuch()
	case size <= 0 || t.hub.cfg.Store == nil || t.job.Rebuild: // a binary that is only compared goes nowhere
		return nil, nil
	}
	t.hub.mu.Lock()
	unable := t.hub.peers[t.worker].unable
	t.hub.mu.Unlock()
	if unable {
		return nil, nil
	}
	if t.staged == nil {
		staged, err := t.hub.cfg.Store.Stage(t.ctx, size)
		if err != nil {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.hub.cfg.Logger.Warn("a worker cannot be given room in the bucket, and sends its binary here", "worker", t.worker, "error", err)
			}
			return nil, nil
		}
		t.staged = staged
	}
	return &t.staged.SignedRequest, nil
}

// fetch gets what the worker says it has put into the bucket.
func (t *task) fetch(ctx context.Context, said *outcome) error {
	digest, err := t.staged.Take(ctx, t.file)
	switch {
	case errors.Is(err, fs.ErrNotExist): // which a proxy may be to blame for
		t.hub.cfg.Logger.Warn("a worker has put a binary into the bucket, and it is not there; from now on it is to send them here. See whether a proxy answers it for the bucket",
			"worker", t.worker, "path", t.job.Recipe.Path())
		t.hub.mu.Lock()
		t.hub.peers[t.worker].unable = true
		t.hub.mu.Unlock()
		return t.isLost(true)
	case errors.Is(err, bucket.ErrNotStaged):
		return fmt.Errorf("%w: it said that %s is in the bucket", errUntrue, t.job.Recipe.Path())
	case k6x.KindOf(err) == k6x.Unavailable: // the bucket is
		return t.isLost(true)
	case err != nil:
		return gobuild.FileError("keeping the binary", err)
	}
	return t.check(said, t.staged.Size, digest)
}

// newPutter returns what a worker puts binaries with. It is led nowhere else.
func newPutter() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
			ExpectContinueTimeout: time.Second, MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true, // another one is minutes away
		},
		Timeout: deliveryTime,
	}
}

const unableTime = time.Minute // in which a bucket that could not be reached is not tried again

// stage puts a binary into the bucket, if the service makes room for it there. It reports whether it is there; else it is to be sent.
func (j *work) stage(ctx context.Context, file *os.File, size int64) bool {
	w := j.worker
	w.mu.Lock()
	unable := time.Now().Before(w.unable)
	w.mu.Unlock()
	if unable {
		return false
	}
	a, err := j.insist(ctx, report{Room: size}, nil)
	if err != nil || a.Room == nil {
		return false
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = put(ctx, w.putter, a.Room, file, size, 10*w.cfg.Pace.hello())
	}()
	j.accompany(ctx, done)
	<-done
	if err != nil && ctx.Err() == nil {
		w.cfg.Logger.Warn("a binary cannot be put into the service's bucket, and is sent to the service", "error", err)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.unable = time.Now().Add(unableTime)
	}
	return err == nil
}

// put sends a binary to where the service says, unless nothing moves for a while.
func put(ctx context.Context, putter *http.Client, to *blob.SignedRequest, file io.ReaderAt, size int64, stall time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stall, func() { cancel(errors.New("nothing moves")) })
	defer stalled.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, to.URL, moving{io.NewSectionReader(file, 0, size), func() { stalled.Reset(stall) }})
	if err != nil || request.URL.Scheme != "https" && request.URL.Scheme != "http" {
		return errors.New("the service names no URL of a bucket")
	}
	request.Header.Set("Expect", "100-continue") // else a bucket that refuses cuts the connection, and why is lost
	maps.Copy(request.Header, to.Header)
	request.ContentLength = size
	response, err := putter.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // its words have the signature
			err = e.Err
		}
		return fmt.Errorf("%s: %w", request.URL.Host, cmp.Or(context.Cause(ctx), err))
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s", request.URL.Host, k6x.Clip(response.Status))
	}
	return nil
}

// moving tells of each read.
type moving struct {
	io.Reader
	moved func()
}

func (m moving) Read(p []byte) (int, error) {
	m.moved()
	return m.Reader.Read(p)
}
