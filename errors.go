package k6x

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Kind says what sort of failure an error is. The service has one table from
// kind to HTTP status; the commands have one from kind to exit code.
type Kind int

// The kinds of error.
const (
	Internal     Kind = iota // a fault of ours: details go to the log, not to the user
	Invalid                  // the request is malformed
	NotFound                 // unknown platform, name or version
	Unauthorized             // a token is needed
	Forbidden                // known, but a rule of the operator refuses it
	Conflict                 // the versions asked for contradict each other
	BuildFailed              // it does not compile
	Quota                    // this client has too much under way
	Busy                     // the queue is full, or the service is about to stop
	Unavailable              // something we depend on, such as the module proxy, does not answer
	Timeout                  // the build took longer than the limit
	NoSpace                  // no room to build or to keep the artifact
	Canceled                 // the client went away
	Gone                     // known once, and not kept any more
)

var kindNames = [...]string{"internal", "invalid", "not_found", "unauthorized", "forbidden", "conflict", "build_failed",
	"quota", "busy", "unavailable", "timeout", "no_space", "canceled", "gone"}

// String returns a lower-case word for the kind, fit for logs and metrics.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return kindNames[k]
}

// MarshalText implements [encoding.TextMarshaler].
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *Kind) UnmarshalText(text []byte) error {
	i := slices.Index(kindNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is not a kind of error", text)
	}
	*k = Kind(i)
	return nil
}

// Lasting reports whether a failure of this kind would come again if the same was asked for, so
// that it may be remembered for a while.
func (k Kind) Lasting() bool {
	switch k {
	case BuildFailed, Conflict, Forbidden, NotFound:
		return true
	}
	return false
}

// Causes of errors about what a request says, for errors.Is. Their words are those that k6build has for them, as scripts look for them.
var (
	ErrUnknownDependency = errors.New("unknown dependency")
	ErrInvalidConstraint = errors.New("invalid constrain")
	ErrInvalidPlatform   = errors.New("invalid platform")
)

// Error is a failure with a kind and with words for the user. What Message, Hint
// and Output hold may be shown to anyone; Err is for the log.
type Error struct {
	Kind       Kind          `json:"kind"`
	Message    string        `json:"message"`               // what went wrong and with which input, in one sentence or a few lines
	Hint       string        `json:"hint,omitempty"`        // what to do about it; may be empty
	Output     string        `json:"output,omitempty"`      // the whole output of a failed build; may be empty
	RetryAfter time.Duration `json:"retry_after,omitempty"` // when to try again; 0 if unknown, negative if that does not help
	Build      string        `json:"build,omitempty"`       // id of the build at a service that ended so; may be empty
	Limit      Limit         `json:"limit,omitzero"`        // the bound that a build ran into; the zero value: none
	Err        error         `json:"-"`                     // the cause; may be nil
}

// Errorf returns an error of the given kind. A %w in the format keeps the cause,
// whose words then are part of the message.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithCause sets the cause, which only the log will show, and returns e.
func (e *Error) WithCause(err error) *Error {
	e.Err = err
	return e
}

// WithRetry sets when to try again, at first, and returns e.
func (e *Error) WithRetry(after time.Duration) *Error {
	e.RetryAfter = after
	return e
}

// Advice returns the hint and when to try again, as far as that is known.
func (e *Error) Advice() string {
	seconds := int64(math.Ceil(e.RetryAfter.Seconds()))
	when := fmt.Sprintf("%d seconds", seconds)
	switch {
	case seconds <= 0:
		return e.Hint
	case seconds == 1:
		when = "a second"
	case seconds == 60:
		when = "a minute"
	case seconds > 120:
		when = fmt.Sprintf("%d minutes", (seconds+59)/60)
	}
	return strings.TrimSpace(e.Hint + " Try again in " + when + ".")
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err: that of the first [Error] in its chain, else
// [Canceled] or [Timeout] for the errors of a context, else [Internal].
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}

// AsError returns the first [Error] in the chain of err; if there is none, a new
// one of err's kind that says no more than is fit for a user and keeps err as its cause.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	kind := KindOf(err)
	message := map[Kind]string{Canceled: "the request was canceled", Timeout: "it took too long"}[kind]
	if message == "" {
		message = "something went wrong in this service"
	}
	return &Error{Kind: kind, Message: message, Err: err}
}

// CanceledBy returns the error for a context that ended.
func CanceledBy(ctx context.Context) *Error {
	return Errorf(Canceled, "interrupted").WithCause(ctx.Err())
}

// Detailed returns the message of an error, with the cause of one that is a fault of this machine: for a user who looks after it.
func Detailed(err error) string {
	text := err.Error()
	if e, ok := errors.AsType[*Error](err); ok && (e.Kind == Internal || e.Kind == NoSpace) && e.Err != nil && !strings.Contains(text, e.Err.Error()) {
		text += ": " + e.Err.Error()
	}
	return text
}

// Interrupted reports whether err comes of a context that ended.
func Interrupted(err error) bool {
	return KindOf(err) == Canceled || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
