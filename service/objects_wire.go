package service

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"k6x"
	"k6x/cache/objects"
)

// objectAnswer is what the server of objects says (docs/contracts.md, section 5).
type objectAnswer struct {
	Error  *wireError // null of a success
	Object wireObject
}

// wireObject is an object as clients see it; nothing of it in most errors.
type wireObject struct {
	ID       string `json:",omitempty"`
	Checksum string `json:",omitempty"` // hex SHA-256
	URL      string `json:",omitempty"` // of the bytes
}

func (o *Objects) wire(r *http.Request, object objects.Object) wireObject {
	return wireObject{ID: object.ID, Checksum: object.Checksum, URL: o.link(r, object.ID)}
}

// duplicate is the refusal of an upload for the object that is there.
type duplicate struct {
	first objects.Object
	err   *k6x.Error
}

func (d *duplicate) Error() string { return d.err.Error() }
func (d *duplicate) Unwrap() error { return d.err }

// objectFailures gives the errors that only this server knows their statuses and names; the
// others have those of their kinds.
var objectFailures = []struct {
	err    error
	status int
	title  string
}{
	{objects.ErrDuplicate, http.StatusOK, "duplicate object"},
	{objects.ErrTooLarge, http.StatusRequestEntityTooLarge, "object too large"},
	{objects.ErrNotFound, http.StatusNotFound, "object not found"},
	{os.ErrDeadlineExceeded, http.StatusRequestTimeout, "upload stalled"},
}

// fail writes the error of a request to this server.
func (o *Objects) fail(w *response, r *http.Request, err error) {
	p := o.problem(w, r, err)
	title := map[k6x.Kind]string{
		k6x.Invalid: "invalid request", k6x.NotFound: "not found", k6x.Unauthorized: "not authorized",
		k6x.NoSpace: "no space left",
	}[p.kind]
	for _, failure := range objectFailures {
		if p.kind != k6x.Internal && errors.Is(err, failure.err) {
			p.Status, title = failure.status, failure.title
			break
		}
	}
	if allowed := allowedMethods(err); allowed != nil {
		title, p.Hint = "method not allowed", "Use one of "+strings.Join(allowed, ", ")+"."
	}
	if title == "" {
		title = "object store failed"
	}
	answer := objectAnswer{Error: nest(title, p.text())}
	if d, ok := errors.AsType[*duplicate](err); ok {
		answer.Object = o.wire(r, d.first)
	}
	refuseBody(w, r) // the rest of an upload is not waited for
	o.answer(w, p.Status, answer)
}

func (o *Objects) answer(w *response, status int, answer objectAnswer) {
	body := encode(answer)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// upload reads the body of a request, and gives up a client that sends nothing for too
// long. Its errors have words for the client.
type upload struct {
	request *http.Request
	control *http.ResponseController
	stall   time.Duration
	left    int // bytes until the deadline is set anew
}

func (u *upload) Read(p []byte) (int, error) {
	if u.left <= 0 {
		u.left = chunk
		// Not every connection has deadlines; a recorder in a test has not.
		_ = u.control.SetReadDeadline(time.Now().Add(u.stall))
	}
	n, err := u.request.Body.Read(p)
	u.left -= n
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		_ = u.control.SetReadDeadline(time.Time{}) // else it would end the request while the disk is waited for
		return n, io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, k6x.Errorf(k6x.Invalid, "the upload stalled: a client has %s for each %d MiB", u.stall, chunk>>20).WithCause(err)
	case u.request.Context().Err() != nil:
		return n, context.Cause(u.request.Context())
	}
	return n, k6x.Errorf(k6x.Invalid, "the upload broke off").WithCause(err)
}
