// Package launcher gets the k6 that a command needs: one that is kept, or else one from a builder.
//
//	command line ─► script ─► list ─► binaries ─ one fits ───────────────────► process
//	(command)                         (Find)     none ─► a Source ─► binaries ─┘
//	                                                     (Resolve)    (Add: Fetch)
//
// The subpackages do the parts: command reads the command line, script finds out what is needed,
// binaries keeps what was had, remote is the client of a service, and process becomes k6.
package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"k6x"
	"k6x/launcher/binaries"
)

// Source is where binaries come from. Open is called before the rest, Close after.
type Source interface {
	Name() string // as in --builder

	// Open gets ready. An error says why nothing can be had from here: what is not set up, not
	// installed or not running.
	Open(ctx context.Context) error

	// Resolve returns the versions that list means now. Nothing is built.
	Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error)

	// Fetch writes the binary of a pinned list to file, which is empty.
	Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error

	Close() error
}

// Launcher gets binaries. Dir and Platform are needed.
type Launcher struct {
	Dir      *binaries.Dir
	Sources  []Source // in the order in which they are tried
	Platform k6x.Platform

	// Clean passes over what is kept: versions are looked for anew, and extensions that
	// were used before are not taken along.
	Clean bool

	// Tell is told what goes on; details are for those who asked for them. Nil: nobody is told.
	Tell func(detail bool, text string)
}

// tries bounds how often a kept binary may turn out to be damaged or gone. Damaged ones are removed.
const tries = 100

// Get returns a binary that satisfies needs and has been checked. It is not removed before
// release is called, or this process has become another.
//
// If there is no such binary yet, one is had from the first source that can give it, with the
// extensions of the binary used last as far as they go with what is needed.
func (l *Launcher) Get(ctx context.Context, needs k6x.List) (b binaries.Binary, release func(), err error) {
	for range tries {
		if b, err = l.have(ctx, needs); err != nil {
			return binaries.Binary{}, nil, err
		}
		release, err = l.Dir.Use(ctx, b)
		if err == nil {
			return b, release, nil
		}
		if !errors.Is(err, binaries.ErrDamaged) && !errors.Is(err, binaries.ErrGone) {
			break
		}
		l.tell(false, "%v; getting it again", err)
	}
	return binaries.Binary{}, nil, err
}

// have returns a kept binary, which is had from a source if need be.
func (l *Launcher) have(ctx context.Context, needs k6x.List) (binaries.Binary, error) {
	if !l.Clean {
		if b, ok := l.Dir.Find(ctx, l.Platform, needs); ok {
			l.tell(true, "%s has what is needed: %s", b.Path, b.List())
			return b, nil
		}
	}
	needs, err := withK6(needs)
	if err != nil {
		return binaries.Binary{}, err
	}
	var before k6x.List
	if !l.Clean {
		before, _ = l.Dir.Previous(ctx, l.Platform)
	}
	var b binaries.Binary
	err = l.try(ctx, func(s Source) error {
		b, err = l.obtain(ctx, s, needs, before)
		return err
	})
	return b, err
}

// Resolve returns the versions that list means now, and who says so.
func (l *Launcher) Resolve(ctx context.Context, list k6x.List) (pinned k6x.List, by string, err error) {
	if list, err = withK6(list); err != nil {
		return nil, "", err
	}
	err = l.try(ctx, func(s Source) error {
		by = s.Name()
		pinned, err = s.Resolve(ctx, l.Platform, list)
		return err
	})
	return pinned, by, err
}

// Fetch returns the kept binary of what list means now; release is as of Get.
func (l *Launcher) Fetch(ctx context.Context, list k6x.List) (b binaries.Binary, release func(), err error) {
	anew := *l
	anew.Clean = true
	return anew.Get(ctx, list)
}

// With calls f with the first source that can be used, or, if f fails in a way that another
// might not, with the next.
func (l *Launcher) With(ctx context.Context, f func(Source) error) error { return l.try(ctx, f) }

// withK6 returns the list with k6 in it.
func withK6(list k6x.List) (k6x.List, error) {
	if _, ok := list.Lookup(k6x.K6); ok {
		return list, nil
	}
	return k6x.NewList(append(slices.Clone(list), k6x.Dependency{Name: k6x.K6})...)
}

// obtain gets a binary from a source: one that has the extensions used before as well, or else just
// what is needed.
func (l *Launcher) obtain(ctx context.Context, s Source, needs, before k6x.List) (binaries.Binary, error) {
	pinned, more, err := l.resolve(ctx, s, needs, before)
	if err != nil {
		return binaries.Binary{}, err
	}
	b, err := l.add(ctx, s, pinned)
	if !more || !isAnswer(err) {
		return b, err
	}
	why := err
	if pinned, err = s.Resolve(ctx, l.Platform, needs); err == nil {
		b, err = l.add(ctx, s, pinned)
	}
	if err == nil {
		l.tell(false, "left out what was used before, as it does not go with what is needed: %v", why)
	}
	return b, err
}

// maxBefore bounds how many extensions are taken along.
const maxBefore = 16

// resolve returns versions of all that is needed and of what else was used before; more says that
// there is any of that.
func (l *Launcher) resolve(ctx context.Context, s Source, needs, before k6x.List) (pinned k6x.List, more bool, err error) {
	before = slices.DeleteFunc(slices.Clone(before), func(dep k6x.Dependency) bool {
		_, needed := needs.Lookup(dep.Name)
		return needed
	})
	before = before[:min(len(before), maxBefore)]
	if len(before) > 0 {
		all, err := k6x.NewList(slices.Concat(needs, before)...)
		if err == nil {
			pinned, err = s.Resolve(ctx, l.Platform, all)
		}
		if err == nil || !isAnswer(err) {
			return pinned, true, err
		}
	}
	if pinned, err = s.Resolve(ctx, l.Platform, needs); err != nil || len(before) < 2 {
		l.leftOut(before, err)
		return pinned, false, err
	}
	// Not all of them: so each by itself.
	wish := needs
	for _, dep := range before {
		one, err := k6x.NewList(append(slices.Clone(wish), dep)...)
		var found k6x.List
		if err == nil {
			found, err = s.Resolve(ctx, l.Platform, one)
		}
		switch {
		case err == nil:
			wish, pinned, more = one, found, true
		case !isAnswer(err):
			return nil, false, err
		default:
			l.leftOut(k6x.List{dep}, nil)
		}
	}
	return pinned, more, nil
}

func (l *Launcher) leftOut(list k6x.List, err error) {
	if len(list) > 0 && err == nil {
		l.tell(true, "left out %s, which was used before: it does not go with what is needed", list)
	}
}

// add keeps the binary of a pinned list.
func (l *Launcher) add(ctx context.Context, s Source, pinned k6x.List) (binaries.Binary, error) {
	meta := binaries.Meta{Platform: l.Platform, Versions: make(map[string]string), Source: s.Name()}
	for _, dep := range pinned {
		meta.Versions[dep.Name] = dep.Constraint.Version()
	}
	var failed error
	b, err := l.Dir.Add(ctx, meta, func(file *os.File) error {
		l.tell(false, "getting %s from %s", pinned, s.Name())
		if failed = s.Fetch(ctx, l.Platform, pinned, file); failed == nil {
			failed = inspect(file, l.Platform, pinned)
		}
		return failed
	})
	if err != nil && failed == nil { // no source can help
		err = &ours{err}
	}
	return b, err
}

// ours is an error that is not that of a source.
type ours struct{ error }

func (e *ours) Unwrap() error { return e.error }

// isAnswer reports whether a source has answered with a no, which others need not be asked about:
// it would be the same, or should be.
func isAnswer(err error) bool {
	if err == nil {
		return false
	}
	switch k6x.KindOf(err) {
	case k6x.Invalid, k6x.NotFound, k6x.Forbidden, k6x.Conflict, k6x.BuildFailed:
		return true
	}
	return false
}

// try calls f with one source after the other until one answers.
func (l *Launcher) try(ctx context.Context, f func(Source) error) error {
	var why []string
	var failed error // of the last source that was asked
	for _, s := range l.Sources {
		err := s.Open(ctx)
		if isAnswer(err) { // somebody wrote something wrong
			l.close(s)
			return err
		}
		if err != nil {
			l.tell(true, "%s is passed over: %s", s.Name(), reason(err))
		} else {
			if failed != nil {
				l.tell(false, "%s; trying %s instead", why[len(why)-1], s.Name())
			}
			l.tell(true, "asking %s", s.Name())
			err = f(s)
			o, isOurs := errors.AsType[*ours](err)
			if isOurs {
				err = o.error
			}
			if isOurs || err == nil || isAnswer(err) || ctx.Err() != nil {
				l.close(s)
				return err
			}
			failed = err
		}
		why = append(why, s.Name()+": "+reason(err))
		l.close(s)
	}
	all := "\n  " + strings.Join(why, "\n  ")
	switch {
	case failed == nil:
		return k6x.Errorf(k6x.Unavailable, "a k6 has to be made, and there is nobody to make it:%s", all).
			WithHint("Set K6X_BUILDER_SERVICE to the URL of a builder service, or install Go, or start Docker.")
	case len(l.Sources) == 1:
		return failed
	}
	last := k6x.AsError(failed)
	return k6x.Errorf(last.Kind, "no builder could make k6:%s", all).WithHint("%s", last.Hint).WithCause(failed)
}

// close closes a source. What it gave is as good if that fails.
func (l *Launcher) close(s Source) {
	if err := s.Close(); err != nil {
		l.tell(true, "%s: %s", s.Name(), reason(err))
	}
}

// reason returns the words of an error, with the cause of one that is a fault of this machine: whoever
// runs a launcher is the one to look after it.
func reason(err error) string {
	text := err.Error()
	if e, ok := errors.AsType[*k6x.Error](err); ok && e.Kind == k6x.Internal && e.Err != nil && !strings.Contains(text, e.Err.Error()) {
		text += ": " + e.Err.Error()
	}
	return text
}

func (l *Launcher) tell(detail bool, format string, args ...any) {
	if l.Tell != nil {
		l.Tell(detail, fmt.Sprintf(format, args...))
	}
}
