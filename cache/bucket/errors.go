package bucket

import (
	"context"
	"errors"
	"io/fs"
	"regexp"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/internal/disk"
)

// Causes of contexts that this package ends.
var (
	errNoAnswer = errors.New("no answer in time")
	errStalled  = errors.New("not a byte for too long")
)

// errDamaged: the object is not what a store wrote.
var errDamaged = errors.New("damaged object")

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// isTaken reports whether a conditional write found something there.
func isTaken(err error) bool { return errors.Is(err, fs.ErrExist) }

// isFull reports whether there is no room, in the bucket or on the disk that it is on.
func isFull(err error) bool {
	return errors.Is(err, blob.ErrFull) || k6x.KindOf(disk.Explain(err)) == k6x.NoSpace
}

// explain gives an error of the bucket words for the user. It lets through errors that have
// some, those of a [cache.Store], and that of ctx if it has ended.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if said(err) {
		return err
	}
	var e *k6x.Error
	switch {
	case errors.Is(err, errDamaged):
		e = k6x.Errorf(k6x.Internal, "what the store's bucket has for this binary is damaged")
	case isFull(err):
		e = k6x.Errorf(k6x.NoSpace, "there is no room left in the store's bucket").
			WithHint("Free some space in the bucket or raise its quota, then try again.")
	default:
		w := wordsOf(blob.FaultOf(err))
		e = k6x.Errorf(k6x.Unavailable, "the store's bucket %s", w.says).WithHint("%s", w.advice).WithRetry(time.Minute)
	}
	return e.WithCause(hide(err))
}

// fault gives an error of a place that has no words for the user yet such words. It lets the errors
// of a [cache.Store] and those of a context through.
func fault(message string, err error) error {
	if err == nil || said(err) || k6x.Interrupted(err) {
		return err
	}
	return k6x.Errorf(k6x.Internal, "%s", message).WithCause(err)
}

// said reports whether an error has words for the user, or is one of a [cache.Store].
func said(err error) bool {
	_, ok := errors.AsType[*k6x.Error](err)
	return ok || errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrEvicted)
}

// words tell of a fault of the bucket, and what the operator of the service can do about it.
type words struct{ says, advice string }

var outage = words{"does not answer", "What this service has at hand is served meanwhile."}

var faults = map[blob.Fault]words{
	blob.Credentials: {"does not accept the credentials of this service", "Its operator has to correct them, or to take back what was changed."},
	blob.Expired:     {"does not accept the credentials of this service, as they have expired", "Its operator has to renew them."},
	blob.Clock:       {"does not accept requests of this service, as their clocks differ", "Its operator has to set the clock of its machine."},
	blob.Region:      {"is in another region than this service asks", "Its operator has to correct region= in the URL of the store."},
	blob.Rights:      {"refuses access to this service", "Its operator has to give its credentials the rights to read, write, list and delete."},
	blob.NoBucket:    {"does not exist", "The operator of this service has to create it, or to correct the URL of the store."},
	blob.Certificate: {"has a certificate that this service does not accept", "Its operator has to name the authority in SSL_CERT_FILE, or to set the clock of its machine."},
	blob.Throttled:   {"asks this service for fewer requests", outage.advice},
}

// wordsOf returns words for a fault of the bucket.
func wordsOf(fault blob.Fault) words {
	if w, ok := faults[fault]; ok {
		return w
	}
	return outage
}

// explain gives an error words for the user, unless it is one of a place: that gets them from what was to be done.
func (s *Store) explain(ctx context.Context, err error) error {
	if s.own != nil {
		return err
	}
	return explain(ctx, err)
}

// cause returns what the log should show of an error.
func cause(err error) error {
	if e, ok := errors.AsType[*k6x.Error](err); ok && e.Err != nil {
		return e.Err
	}
	return hide(err)
}

var secrets = regexp.MustCompile(`(?i)\b(sig|[a-z-]*signature|[a-z-]*credential|[a-z-]*token|[a-z_-]*secret[a-z_]*|password|accountkey)=[^&\s"';]+`)

// hide returns err without secrets in its words: URLs of requests may have some.
func hide(err error) error {
	if err == nil {
		return nil
	}
	return hidden{err}
}

type hidden struct{ error }

func (h hidden) Error() string { return secrets.ReplaceAllString(h.error.Error(), "$1=…") }
func (h hidden) Unwrap() error { return h.error }
