package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"k6x"
)

// response is a ResponseWriter that knows what the access log wants to know, and
// that gives up a client which takes nothing for too long.
type response struct {
	http.ResponseWriter
	id      string // of the request
	client  string // address of the client, behind trusted proxies
	status  int    // 0 until the header is written
	bytes   int64
	outcome string // a word for log and metrics
	asked   string // path of the binary that a body asks for
	reason  string // why there is no binary, or not all of it, for the log
	stall   time.Duration
	until   time.Time // when the answer ends, however fast the client is; zero: no matter when

	length   int64        // of the body, as its header says
	verify   func() error // returns once the bytes are known to be right; nil: they are
	verified chan error   // of verify, which runs beside the answer: its last byte waits for that; nil: it does not run
}

var _ io.ReaderFrom = (*response)(nil)

// chunk is what a client has to take, or send, within the stall time: so small that a slow line makes
// it (at 64 kbit/s, in 5 minutes), so large that the deadline costs nothing. A deadline is for
// the whole chunk, so that one byte now and then does not help.
const chunk = 2 << 20

// bodyTime is how long a client may take for a request's body.
const bodyTime = 5 * time.Second

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if status >= 200 {
		w.status = status
	}
	if status >= 400 {
		w.clearBinaryHeaders()
	}
	if w.verify != nil && (status == http.StatusOK || status == http.StatusPartialContent) {
		w.length, _ = strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
		verified := make(chan error, 1)
		go func() { verified <- w.verify() }() // while the bytes before the last one are sent
		w.verified = verified
	}
	w.extendDeadline() // that of an earlier request on the connection may have passed
	w.ResponseWriter.WriteHeader(status)
}

// clearBinaryHeaders removes what may be set already when a binary turns out not to be
// the answer, as for a range that cannot be had: no error is cacheable as a success.
func (w *response) clearBinaryHeaders() {
	h := w.Header()
	for _, name := range []string{"Content-Disposition", "Content-Encoding", "Etag", "Last-Modified", "Repr-Digest"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	if h.Get("Content-Type") == "application/octet-stream" {
		h.Del("Content-Type")
	}
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	for total := 0; ; {
		part := p[total:]
		part = part[:w.sendable(int64(len(part)))]
		w.extendDeadline()
		n, err := w.ResponseWriter.Write(part)
		w.bytes += int64(n)
		if total += n; err != nil || total == len(p) {
			return total, err
		}
	}
}

// sendable returns how many of the next n bytes may be sent: the last byte of an answer waits until all are known to be right. If they are not, the
// answer ends before it, so that no client takes it for whole.
func (w *response) sendable(n int64) int64 {
	if w.verified == nil || w.bytes+n < w.length {
		return n
	}
	if before := w.length - 1 - w.bytes; before > 0 {
		return before
	}
	if err := <-w.verified; err != nil {
		w.reason = "not sent to its end: " + err.Error()
		panic(http.ErrAbortHandler)
	}
	w.verified = nil
	return n
}

// ReadFrom sends src in chunks, each with a deadline of its own. What it hands on is a
// LimitedReader straight over the source, which the net package sends with sendfile.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	var total int64
	for limited.N > 0 {
		size := w.sendable(min(limited.N, chunk))
		w.extendDeadline()
		n, err := io.Copy(w.ResponseWriter, &io.LimitedReader{R: limited.R, N: size})
		total += n
		limited.N -= n
		w.bytes += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.reason = fmt.Sprintf("too slow: the client has %s for each %d MiB", w.stall, chunk>>20)
			if !w.until.IsZero() {
				w.reason = "too slow: the client has not taken all of it in time"
			}
		}
		if e, ok := errors.AsType[*k6x.Error](err); ok { // of what is sent, not of the connection
			w.reason = "not sent to its end: " + e.Message
			panic(http.ErrAbortHandler)
		}
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

func (w *response) extendDeadline() {
	deadline := time.Now().Add(w.stall)
	if !w.until.IsZero() && w.until.Before(deadline) {
		deadline = w.until
	}
	// Not every writer has deadlines; a recorder in a test has not.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
}

// SetWriteDeadline is for [http.ResponseController]: a handler bounds the whole answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.until = t
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// front is what stands before the handlers of a server.
type front struct {
	metrics *Metrics
	logger  *slog.Logger
	trusted []netip.Prefix // peers whose X-Forwarded-For and X-Forwarded-Proto are believed
	stall   time.Duration  // how long a client may take for a chunk

	lost func(r *http.Request) error // returns an error unless anyPath has something at the path of a request
}

// maxLogged bounds what a line of the access log quotes of a request.
const maxLogged = 4 << 10

// adapt adapts a route: request id, error, panic, access log and metrics.
func (f *front) adapt(to route) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now()
		w := &response{ResponseWriter: rw, id: r.Header.Get("X-Request-Id"), client: f.client(r), stall: f.stall}
		if w.id == "" || !requestID.MatchString(w.id) {
			w.id = rand.Text()
		}
		w.Header().Set("X-Request-Id", w.id)
		defer func() {
			if to.path == metricsPath {
				return
			}
			duration := time.Since(start)
			f.metrics.observe(w, duration)
			attrs := [...]slog.Attr{slog.String("id", w.id), slog.String("method", k6x.Clip(r.Method)), slog.String("path", k6x.ClipTo(r.URL.EscapedPath(), maxLogged)),
				slog.Int("status", w.status), slog.Int64("bytes", w.bytes), slog.Duration("duration", duration), slog.String("client", w.client),
				slog.String("outcome", w.outcome), slog.String("agent", k6x.Clip(r.UserAgent())), slog.String("reason", w.reason)}
			n := len(attrs)
			if w.reason == "" {
				n--
			}
			f.logger.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs[:n]...)
		}()
		if to.method == http.MethodGet {
			refuseBody(w, r)
		}
		if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") { // RFC 9110 14.2: another unit is as none, and net/http refuses it
			r.Header.Del("Range")
		}
		err := protect(func() error { return to.handler(w, r) })
		if err != nil {
			to.fail(w, r, err)
		}
		switch w.status {
		case http.StatusNotModified:
			w.outcome = "not_modified"
		case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
			w.outcome = k6x.Invalid.String()
		}
	}
}

// protect turns a panic of f into an error, but for the one that means to abort.
func protect(f func() error) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			err = k6x.Errorf(k6x.Internal, "panic").WithCause(fmt.Errorf("%v\n%s", p, debug.Stack()))
		}
	}()
	return f()
}

// refuseBody is for a handler that does not read the body of r. What is announced and never
// sent would hold up the answer, as net/http reads it first.
func refuseBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // a recorder in a test has no deadlines
}

// trusts reports whether the peer of r is a proxy whose headers are believed.
func (f *front) trusts(r *http.Request) bool {
	if len(f.trusted) == 0 {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && f.trustsAddr(peer.Addr())
}

func (f *front) trustsAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(f.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// origin returns the scheme and host of r as its client sees them.
func (f *front) origin(r *http.Request) *url.URL {
	u := &url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil || f.trusts(r) && r.Header.Get("X-Forwarded-Proto") == "https" {
		u.Scheme = "https"
	}
	return u
}

// client returns the address that a request comes from: the peer, or the last
// address in X-Forwarded-For that is not a trusted proxy itself.
func (f *front) client(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 || !f.trusts(r) {
		return host
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		host = addr.Unmap().String()
		if !f.trustsAddr(addr) {
			break
		}
	}
	return host
}
