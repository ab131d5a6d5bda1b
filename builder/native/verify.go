package native

import (
	"k6x"
	"k6x/builder/internal/gobuild"
)

// inspect is [Workspace.Inspect].
func (e *Engine) inspect(ws *Workspace, checked bool) (k6x.Build, error) {
	b := e.newBlame(ws)
	info, err := b.Inspect(ws.Output())
	if err != nil {
		return k6x.Build{}, err
	}
	if err := e.checkLinked(ws, b, info.Deps); err != nil {
		return k6x.Build{}, err
	}
	if !ws.locked { // a lock was checked when it was made
		used, err := ws.requires()
		if err != nil {
			return k6x.Build{}, gobuild.FileError("reading the module versions", err)
		}
		if err := b.CheckPinned(info, used); err != nil {
			return k6x.Build{}, err
		}
	}
	lock, err := ws.Lock()
	if err != nil {
		return k6x.Build{}, gobuild.FileError("reading the lock", err)
	}
	if !ws.locked {
		if checked {
			e.sums.learn(lock.GoSum)
		}
		if lock.GoSum, err = e.needed(ws, lock.GoSum, info); err != nil {
			return k6x.Build{}, gobuild.FileError("reading the module versions", err)
		}
	}
	return gobuild.Report(info, lock), nil
}
