package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"testing"
	"time"
)

func TestFaultsAreToldApart(t *testing.T) {
	for _, c := range []struct {
		err     error
		want    Fault
		lasting bool
	}{
		{nil, "", false},
		{fs.ErrNotExist, "", false},
		{&ServiceError{Status: 404}, "", false},
		{&ServiceError{Status: 412}, "", false},
		{&ServiceError{Status: 409, Code: "OperationAborted"}, "", false},
		{context.Canceled, "", false},
		{&ServiceError{Status: 404, Fault: NoBucket}, NoBucket, true},
		{fmt.Errorf("put: %w", &ServiceError{Status: 400, Fault: Expired}), Expired, true},
		{&ServiceError{Status: 404, Fault: Credentials}, Credentials, true},
		{&ServiceError{Status: 403}, Rights, true},
		{fs.ErrPermission, Rights, true},
		{fmt.Errorf("%w: none", ErrCredentials), Credentials, true},
		{&tls.CertificateVerificationError{Err: errors.New("unknown")}, Certificate, true},
		{&ServiceError{Status: 507}, Full, false},
		{&ServiceError{Status: 500}, OtherFault, false},
		{context.DeadlineExceeded, TimedOut, false},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, Unreached, false},
		{io.ErrUnexpectedEOF, OtherFault, false},
	} {
		if e, ok := c.err.(*ServiceError); ok && e.Fault == Credentials && errors.Is(e, fs.ErrNotExist) {
			t.Errorf("%v is taken for an absent blob", e)
		}
		if got := FaultOf(c.err); got != c.want || got.Lasting() != c.lasting {
			t.Errorf("%v: got %q, lasting %v; want %q", c.err, got, got.Lasting(), c.want)
		}
	}
}

func TestObserverSeesEachExchange(t *testing.T) {
	seen := map[string]error{}
	b := Observe(failing{}, func(method string, took time.Duration, err error) { seen[method] = err })
	ctx := t.Context()
	b.Open(ctx, "a", 0)
	b.Stat(ctx, "a")
	b.Put(ctx, "a", nil, 0, PutOptions{})
	b.Copy(ctx, "a", "", "b", PutOptions{})
	b.Delete(ctx, "a")
	for range b.List(ctx, "a") {
	}
	for _, method := range []string{"open", "stat", "put", "copy", "delete", "list"} {
		if !errors.Is(seen[method], errFailing) {
			t.Errorf("%s: %v", method, seen[method])
		}
	}
	if got := Observe(failing{}, nil); got != (failing{}) {
		t.Errorf("without an observer: %T", got)
	}
}

var errFailing = errors.New("it fails")

// failing is a bucket that does nothing.
type failing struct{ Bucket }

func (failing) Open(context.Context, string, int64) (io.ReadCloser, Info, error) {
	return nil, Info{}, errFailing
}
func (failing) Stat(context.Context, string) (Info, error) { return Info{}, errFailing }
func (failing) Put(context.Context, string, io.ReaderAt, int64, PutOptions) (Info, error) {
	return Info{}, errFailing
}
func (failing) Copy(context.Context, string, string, string, PutOptions) (Info, error) {
	return Info{}, errFailing
}
func (failing) Delete(context.Context, string) error { return errFailing }
func (failing) List(context.Context, string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { yield(Info{}, errFailing) }
}
