package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
)

// Fault is what is wrong with a bucket, in a word for logs and metrics.
type Fault string

// The faults of buckets. Those of the first group last until somebody mends them.
const (
	Credentials Fault = "credentials" // they are not accepted, or there are none
	Expired     Fault = "expired"     // the credentials are
	Clock       Fault = "clock"       // that of this machine is wrong
	Region      Fault = "region"      // the bucket is in another one
	Rights      Fault = "rights"      // the credentials do not give them
	NoBucket    Fault = "no_bucket"   // there is none of that name
	Certificate Fault = "certificate" // of the server: it is not accepted

	Full       Fault = "full"
	Throttled  Fault = "throttled" // it asks for fewer requests
	TimedOut   Fault = "timeout"
	Unreached  Fault = "unreached" // no answer, or one that broke off
	OtherFault Fault = "other"     // the service, or the disk, fails
)

// Lasting reports whether a fault stays until somebody changes a setting.
func (f Fault) Lasting() bool {
	switch f {
	case Credentials, Expired, Clock, Region, Rights, NoBucket, Certificate:
		return true
	}
	return false
}

// ErrCredentials says that there are no credentials for a request, for errors.Is.
var ErrCredentials = errors.New("credentials for the bucket")

// FaultOf returns what is wrong with a bucket that an exchange ended with err; "" if nothing is, as when there is no such
// blob, there is one already, or the caller did not wait.
func FaultOf(err error) Fault {
	if e, ok := errors.AsType[*ServiceError](err); ok && e.Fault != "" {
		return e.Fault
	}
	var timeout net.Error
	switch {
	case err == nil, errors.Is(err, fs.ErrExist), errors.Is(err, ErrContended), errors.Is(err, fs.ErrNotExist), errors.Is(err, errors.ErrUnsupported):
		return ""
	case errors.Is(err, ErrFull):
		return Full
	case errors.Is(err, ErrCredentials):
		return Credentials
	case errors.Is(err, fs.ErrPermission):
		return Rights
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	case errors.Is(err, context.Canceled):
		return ""
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Certificate
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return Unreached
	}
	return OtherFault
}
