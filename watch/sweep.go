package watch

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"k6x"
	"k6x/history"
)

// Sweep tells the history of what is new and has it built, one after another, as far as that was not done.
func (w *Watcher) Sweep(ctx context.Context) {
	if err := w.seen.CatchUp(ctx); err != nil {
		w.tell(err)
		return
	}
	for _, wish := range w.pending() {
		if ctx.Err() != nil {
			return
		}
		done, err := w.fulfil(ctx, wish)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.cfg.Logger.Warn("a new version is tried again", "name", wish.name, "version", wish.version, "error", err)
			wish.next = w.cfg.Clock().Add(w.cfg.Interval << min(wish.tries, 6))
			wish.tries++
		case done:
			w.remove(wish)
		}
	}
}

// pending returns what is to be done now, the oldest first.
func (w *Watcher) pending() []*wish {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.cfg.Clock()
	w.wishes = slices.DeleteFunc(w.wishes, func(wish *wish) bool { return now.Sub(wish.since) > w.cfg.Life })
	return slices.DeleteFunc(slices.Clone(w.wishes), func(wish *wish) bool {
		p, ok := w.published[wish.module]
		return now.Before(wish.next) || ok && !slices.Contains(p.Versions, wish.version) // retracted meanwhile
	})
}

func (w *Watcher) remove(done *wish) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wishes = slices.DeleteFunc(w.wishes, func(wish *wish) bool { return wish == done })
}

// fulfil does what is left to do about a version that is new. An error says why it is to be tried again.
func (w *Watcher) fulfil(ctx context.Context, wish *wish) (done bool, err error) {
	if !wish.told {
		e := history.Entry{Type: history.Version, Module: wish.module, Name: wish.name, Version: wish.version}
		if _, err := w.cfg.History.AppendUnless(ctx, e, func() bool { return w.cfg.History.Seen(wish.module, wish.version) }); err != nil {
			return false, err
		}
		wish.told = true
	}
	for _, platform := range w.cfg.Platforms {
		if wish.done[platform] || w.tried(wish, platform) {
			continue
		}
		if failed := w.build(ctx, wish, platform); failed != nil {
			err = failed
			continue
		}
		wish.done[platform] = true
	}
	return err == nil, err
}

// tried reports whether the history has what came of a version for a platform, and nothing else would come of it.
func (w *Watcher) tried(wish *wish, platform k6x.Platform) bool {
	last := w.cfg.History.LastAttempt(wish.name, wish.version, platform.String())
	if last == nil || last.Outcome == history.Aborted {
		return false
	}
	var kind k6x.Kind
	return last.Outcome != history.Failed || kind.UnmarshalText([]byte(last.Kind)) != nil || !passing(kind)
}

// build has a version built. An error says that it may do better the next time; what is wrong with the version itself is a result.
func (w *Watcher) build(ctx context.Context, wish *wish, platform k6x.Platform) error {
	begun := w.cfg.Clock().UTC()
	list, err := k6x.ParseList(wish.name + "@" + wish.version)
	resolved := false
	if err == nil {
		resolved, err = w.cfg.Build(ctx, platform, list)
	}
	switch {
	case err == nil:
		w.cfg.Logger.Info("a new version is built", "name", wish.name, "version", wish.version, "platform", platform.String())
		return nil
	case passing(k6x.KindOf(err)) || ctx.Err() != nil:
		return err
	}
	w.cfg.Logger.Warn("a new version cannot be built", "name", wish.name, "version", wish.version, "platform", platform.String(), "error", err)
	if resolved || k6x.KindOf(err) == k6x.Forbidden { // there is a result of the build; or a rule has changed since the look
		return nil
	}
	e := k6x.AsError(err)
	result := &history.Result{ID: uuid.NewString(), Path: "/" + platform.String() + "/" + wish.name + "@" + wish.version, Platform: platform.String(),
		Begun: begun, Ended: w.cfg.Clock().UTC(), Outcome: history.Failed, Kind: e.Kind.String(), Error: e.Message, Hint: e.Hint}
	if wish.name != k6x.K6 {
		result.Modules = append(result.Modules, history.Module{Name: k6x.K6}) // there is none that it goes with
		result.Extension = wish.name
	}
	result.Modules = append(result.Modules, history.Module{Name: wish.name, Version: wish.version})
	_, err = w.cfg.History.AppendUnless(ctx, history.Entry{Type: history.Build, Result: result}, func() bool { return w.tried(wish, platform) })
	return err
}

// passing reports whether a failure of this kind may be gone the next time.
func passing(kind k6x.Kind) bool { return !kind.Lasting() && kind != k6x.Invalid }
