// Package launcher gets the k6 that a command needs: one that is kept, or else one from a builder.
//
//	command line ─► script ─► list ─► binaries ─ one has just that ──────────► process
//	(command)                         (Find)     none ─► a Source ─► binaries ─┘
//	                                                     (Resolve)    (Add: Fetch)
//
// The subpackages do the parts: command reads the command line, script finds the dependencies,
// binaries keeps executables, and process becomes k6. Package client asks the service.
package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"k6x"
	"k6x/internal/disk"
	"k6x/launcher/binaries"
)

// Launcher gets binaries. Dir, Platform and Print are needed.
type Launcher struct {
	Dir      *binaries.Dir
	Sources  []Source // in the order in which they are tried
	Platform k6x.Platform

	// Clean passes over kept binaries: versions are looked for anew.
	Clean bool

	// Optional are names that a command may need, but can do without: see [Without].
	Optional []string

	// Fails reports whether an executable ends with an error at its start. One that does is used only for what no other has.
	// Nil: none does.
	Fails func(ctx context.Context, path string) bool

	// Permit returns an error unless a list may be used, also for kept binaries. Nil: all may.
	Permit func(list k6x.List) error

	// Resolved takes the versions of a list once they are known, before a binary of them is looked for; if that list could not be
	// had after all, those of another one follow. Nil: they are not wanted.
	Resolved func(pinned k6x.List)

	// Print prints a line of progress; details are for a verbose mode.
	Print func(detail bool, text string)

	// Note prints what is left out of a list in the same way. Nil: Print does.
	Note func(detail bool, text string)
}

// tries bounds how often a kept binary may turn out to be damaged or gone. Damaged ones are removed.
const tries = 100

// Get returns a binary that satisfies needs, has nothing else, and has been checked. It is not
// removed before release is called, or this process has become another.
//
// If there is no such binary yet, it is fetched from the first source that can give it. If no source
// answers, a kept binary that has more, or lacks what is optional, will do.
func (l *Launcher) Get(ctx context.Context, needs k6x.List) (b binaries.Binary, release func(), err error) {
	release = func() {}
	err = Without(needs, l.Optional, l.note, func(list k6x.List) error {
		found, held, err := l.get(ctx, list)
		if err == nil {
			release()
			b, release = found, held
		}
		return err
	})
	return b, release, err
}

// get is Get for a list of which nothing is left out.
func (l *Launcher) get(ctx context.Context, needs k6x.List) (b binaries.Binary, release func(), err error) {
	for range tries {
		if b, err = l.find(ctx, needs); err != nil {
			return binaries.Binary{}, nil, err
		}
		release, err = l.Dir.Use(ctx, b)
		if err == nil {
			return b, release, nil
		}
		if !errors.Is(err, binaries.ErrDamaged) && !errors.Is(err, binaries.ErrGone) {
			break
		}
		l.print(false, "%v; getting it again", err)
	}
	return binaries.Binary{}, nil, err
}

// find returns a kept binary, which is fetched from a source if need be.
func (l *Launcher) find(ctx context.Context, needs k6x.List) (b binaries.Binary, err error) {
	if err := l.permit(needs); err != nil {
		return binaries.Binary{}, err
	}
	if !l.Clean {
		if b, ok := l.Dir.Find(ctx, l.Platform, needs); ok && l.permit(b.List()) == nil {
			l.resolved(b.List())
			l.print(true, "%s has what is needed: %s", b.Path, b.List())
			return b, nil
		}
	}
	answered, err := l.try(ctx, func(name string, from Builder) error {
		pinned, err := from.Resolve(ctx, l.Platform, needs)
		if err == nil {
			l.resolved(pinned)
			b, err = l.add(ctx, name, from, pinned)
		}
		return err
	})
	if answered || l.Clean {
		return b, err
	}
	why := "has more than what is needed"
	for _, list := range []k6x.List{needs, required(needs, l.Optional)} {
		other, ok := l.Dir.FindAny(ctx, l.Platform, list, func(b binaries.Binary) bool { return l.mayUse(b, needs) && l.starts(ctx, b) })
		if ok {
			l.resolved(other.List())
			l.print(true, "%s %s, and is used as no builder answers: %s\n%v", other.Path, why, other.List(), err)
			return other, nil
		}
		why = "has what the script cannot do without"
	}
	return binaries.Binary{}, err
}

func (l *Launcher) resolved(pinned k6x.List) {
	if l.Resolved != nil {
		l.Resolved(pinned)
	}
}

// starts reports whether a kept binary does not end with an error at its start.
func (l *Launcher) starts(ctx context.Context, b binaries.Binary) bool {
	if l.Fails == nil {
		return true
	}
	release, err := l.Dir.Use(ctx, b) // it is checked before it is run
	if err != nil {
		return false
	}
	defer release()
	return !l.Fails(ctx, b.Path)
}

// Resolve returns the versions that list has now, and the source that says so.
func (l *Launcher) Resolve(ctx context.Context, list k6x.List) (pinned k6x.List, by string, err error) {
	err = Without(list, l.Optional, l.note, func(list k6x.List) error {
		_, err := l.try(ctx, func(name string, from Builder) error {
			found, err := from.Resolve(ctx, l.Platform, list)
			if err == nil {
				pinned, by = found, name
			}
			return err
		})
		return err
	})
	return pinned, by, err
}

// With calls f with the first source that can be used, or, if f fails in a way that another
// might not, with the next.
func (l *Launcher) With(ctx context.Context, f func(Builder) error) error {
	_, err := l.try(ctx, func(_ string, from Builder) error { return f(from) })
	return err
}

// WithK6 returns the list with k6 in it.
func WithK6(list k6x.List) (k6x.List, error) {
	if _, ok := list.Lookup(k6x.K6); ok {
		return list, nil
	}
	return k6x.NewList(append(slices.Clone(list), k6x.Dependency{Name: k6x.K6})...)
}

// mayUse reports whether a kept binary may be used although it has more than is needed. A Go module is
// in it because the user named it, but not for this command.
func (l *Launcher) mayUse(b binaries.Binary, needs k6x.List) bool {
	list := b.List()
	for _, dep := range list {
		if _, needed := needs.Lookup(dep.Name); !needed && k6x.IsModulePath(dep.Name) {
			return false
		}
	}
	return l.permit(list) == nil
}

// permit asks Permit, if there is one.
func (l *Launcher) permit(list k6x.List) error {
	if l.Permit == nil {
		return nil
	}
	return l.Permit(list)
}

// add keeps the binary of a pinned list.
func (l *Launcher) add(ctx context.Context, name string, from Builder, pinned k6x.List) (binaries.Binary, error) {
	meta := binaries.Meta{Platform: l.Platform, Versions: make(map[string]string), Source: name}
	for _, dep := range pinned {
		meta.Versions[dep.Name] = dep.Constraint.Version()
	}
	var failed error
	b, err := l.Dir.Add(ctx, meta, func(file *os.File) error {
		l.print(false, "getting %s from %s", pinned, name)
		if failed = from.Fetch(ctx, l.Platform, pinned, file); failed == nil {
			failed = inspect(file, l.Platform, pinned)
		}
		return failed
	})
	if err != nil && (failed == nil || disk.IsFull(failed)) { // no source can help
		err = &ownError{err}
	}
	if err == nil && l.Fails != nil && l.Fails(ctx, b.Path) {
		l.print(true, "%s does not start", b.Path)
		if err := l.Dir.NoteFailure(b); err != nil {
			l.print(true, "%v", err)
		}
	}
	return b, err
}

// ownError is an error of the launcher, not of a source.
type ownError struct{ error }

func (e *ownError) Unwrap() error { return e.error }

// isAnswer reports whether an error is the answer of a source, rather than a failure to answer: that of others
// would be the same, or should be.
func isAnswer(err error) bool {
	return k6x.KindOf(err) == k6x.Invalid || k6x.KindOf(err).Lasting()
}

// try calls f with one source after the other until one has answered, or no other can help.
func (l *Launcher) try(ctx context.Context, f func(name string, from Builder) error) (answered bool, err error) {
	var why, hints []string
	var failed error // of the last source
	for _, s := range l.Sources {
		from, err := s.Open(ctx)
		switch {
		case isAnswer(err): // a mistake in a flag or file
			return true, err
		case err != nil:
			l.print(true, "%s is passed over: %s", s.Name, k6x.Detailed(err))
			if e, ok := errors.AsType[*k6x.Error](err); ok && e.Hint != "" {
				hints = append(hints, e.Hint)
			}
		default:
			if failed != nil {
				l.print(false, "%s; trying %s instead", why[len(why)-1], s.Name)
			}
			l.print(true, "asking %s", s.Name)
			err = f(s.Name, from)
			if closeErr := from.Close(); closeErr != nil { // a binary that it gave is as good
				l.print(true, "%s: %s", s.Name, k6x.Detailed(closeErr))
			}
			own, isOwn := errors.AsType[*ownError](err)
			if isOwn {
				err = own.error
			}
			if isOwn || err == nil || isAnswer(err) || ctx.Err() != nil {
				return true, err
			}
			failed = err
		}
		why = append(why, s.Name+": "+k6x.Detailed(err))
	}
	all := "\n  " + strings.Join(why, "\n  ")
	switch {
	case failed == nil:
		return false, k6x.Errorf(k6x.Unavailable, "a k6 has to be made, and there is nobody to make it:%s", all).
			WithHint("%s", strings.Join(hints, "\n"))
	case len(l.Sources) == 1:
		return false, failed
	}
	last := k6x.AsError(failed)
	none := k6x.Errorf(last.Kind, "no builder could make k6:%s", all).WithHint("%s", last.Hint).WithCause(failed)
	none.Build = last.Build
	return false, none
}

func (l *Launcher) note(detail bool, text string) {
	if l.Note == nil {
		l.Print(detail, text)
		return
	}
	l.Note(detail, text)
}

func (l *Launcher) print(detail bool, format string, args ...any) {
	l.Print(detail, fmt.Sprintf(format, args...))
}
