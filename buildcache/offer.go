package buildcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/internal/disk"
)

// An Offer passes reads of a remote level on to other machines over HTTP, and nothing else of it. [OpenOffer] opens what it offers:
//
//	…/index?prefix=index/SCOPE.     the names of the indexes of a scope, one a line
//	…/index/NAME and …/packs/ID     the bytes of an object
//
// A reader that is slow has at most offerEach of the offerPlaces, each for offerTime: where as many as have all of them are slow, another one waits that long.
type Offer struct {
	remote Store
	places chan struct{} // one is in it for each request that is being answered

	mu   sync.Mutex     // guards asks
	asks map[string]int // requests by reader
}

const (
	offerList   = "index"          // is asked for a list
	offerPlaces = 64               // requests that are answered at once
	offerEach   = 8                // of one reader that are answered or wait
	offerTime   = 14 * time.Second // for which a request has its place
	offerWait   = offerTime + time.Second
	offerTurns  = 4        // requests that a reader makes at once: a place may be given back a moment after the answer has ended
	maxNames    = 16 << 20 // bytes of a list
)

// NewOffer offers a remote level, which it does not close; nil: there is none, and all lists are empty.
func NewOffer(remote Store) *Offer {
	return &Offer{remote: remote, places: make(chan struct{}, offerPlaces), asks: make(map[string]int)}
}

// Serve answers a request of a reader for an object or, where its name is offerList, for a list.
//
// Errors: Invalid for the prefix of no scope; NotFound; Quota, Busy for too much at once; Unavailable if the remote level does not answer.
func (o *Offer) Serve(w http.ResponseWriter, r *http.Request, reader, name string) error {
	leave, err := o.enter(r.Context(), reader)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), offerTime)
	defer cancel()
	end, _ := ctx.Deadline()
	_ = http.NewResponseController(w).SetWriteDeadline(end) // a recorder in a test has none
	if name == offerList {
		return o.list(ctx, w, r.URL.Query().Get("prefix"))
	}
	most := largest(name)
	if most == 0 || o.remote == nil {
		return notOffered(fs.ErrNotExist)
	}
	body, err := o.remote.Read(ctx, name)
	if err != nil {
		return notOffered(err)
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/zstd")
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = io.Copy(w, io.LimitReader(body, most+1)) // one that is longer is of no use to the reader, either
	return err
}

// largest returns how many bytes an object of a name may have; 0: it is the name of none.
func largest(name string) int64 {
	if id, ok := strings.CutPrefix(name, packDir); ok {
		if _, err := ParseID(id); err == nil {
			return maxPack
		}
	}
	if indexNames.MatchString(name) {
		return maxIndex
	}
	return 0
}

// enter waits for a place.
func (o *Offer) enter(ctx context.Context, reader string) (leave func(), err error) {
	if !o.begin(reader) {
		return nil, k6x.Errorf(k6x.Quota, "%s reads as much of the build cache as it may at once", k6x.Clip(reader)).WithRetry(time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, offerWait)
	defer cancel()
	select {
	case o.places <- struct{}{}:
		return func() { <-o.places; o.end(reader) }, nil
	case <-ctx.Done():
		o.end(reader)
		return nil, k6x.Errorf(k6x.Busy, "as many as may read of the build cache at once do").WithRetry(offerWait)
	}
}

// begin counts a request of a reader until end, unless there are too many.
func (o *Offer) begin(reader string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asks[reader] >= offerEach {
		return false
	}
	o.asks[reader]++
	return true
}

func (o *Offer) end(reader string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asks[reader]--; o.asks[reader] == 0 {
		delete(o.asks, reader)
	}
}

func (o *Offer) list(ctx context.Context, w http.ResponseWriter, prefix string) error {
	scope, isIndex := strings.CutPrefix(strings.TrimSuffix(prefix, "."), indexDir)
	if !isIndex || prefix != indexPrefix(scope) || !scopeNames.MatchString(scope) {
		return k6x.Errorf(k6x.Invalid, "%q is not the prefix of the indexes of a scope", k6x.Clip(prefix))
	}
	var names []string
	if o.remote != nil {
		var err error
		if names, err = listNames(ctx, o.remote, prefix); err != nil {
			return notOffered(err)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(w, strings.Join(names, "\n"))
	return err
}

func notOffered(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return k6x.Errorf(k6x.NotFound, "the build cache that this service offers has no such object").WithCause(err)
	}
	return k6x.Errorf(k6x.Unavailable, "the build cache that this service offers does not answer").WithCause(err)
}

// offered is the remote level that an [Offer] offers.
type offered struct {
	base  *url.URL
	do    func(*http.Request) (*http.Response, error)
	turns chan struct{} // one is in it for each request that is under way
}

var _ Store = (*offered)(nil)

// OpenOffer opens what an [Offer] offers at a URL, for reading only. Do makes a request, with what shows that this machine may.
func OpenOffer(base *url.URL, do func(*http.Request) (*http.Response, error)) Store {
	return &offered{base, do, make(chan struct{}, offerTurns)}
}

func (o *offered) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		u := o.base.JoinPath(offerList)
		u.RawQuery = url.Values{"prefix": {prefix}}.Encode()
		body, err := o.get(ctx, u)
		var text []byte
		if err == nil {
			text, err = disk.ReadAll(body, maxNames)
			body.Close()
		}
		if err != nil {
			yield(blob.Info{}, err)
			return
		}
		for name := range strings.FieldsSeq(string(text)) {
			if strings.HasPrefix(name, prefix) && !yield(blob.Info{Name: name}, nil) {
				return
			}
		}
	}
}

func (o *offered) Read(ctx context.Context, name string) (io.ReadCloser, error) {
	return o.get(ctx, o.base.JoinPath(name))
}

// get returns the body of an answer, which has its turn until it is closed.
func (o *offered) get(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	select {
	case o.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave := sync.OnceFunc(func() { <-o.turns })
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	var resp *http.Response
	if err == nil {
		resp, err = o.do(r)
	}
	if err != nil {
		leave()
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return &turn{resp.Body, leave}, nil
	}
	resp.Body.Close()
	leave()
	err = fmt.Errorf("the service answers %s to a request for its build cache", resp.Status)
	if resp.StatusCode == http.StatusNotFound {
		err = notThere(err)
	}
	return nil, err
}

// turn is a body that gives a turn back.
type turn struct {
	io.ReadCloser
	leave func()
}

func (t *turn) Close() error {
	defer t.leave()
	return t.ReadCloser.Close()
}

func (o *offered) Write(context.Context, string, []byte, []packed) error {
	return errors.ErrUnsupported
}
func (o *offered) Delete(context.Context, string) error { return errors.ErrUnsupported }
func (o *offered) Close() error                         { return nil }
