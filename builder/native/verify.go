package native

import (
	"k6x"
	"k6x/builder/internal/gobuild"
)

// inspect reads the binary, which is never run, and the go.mod that was used, and
// returns what they say if that is what the recipe asks for.
func (e *Engine) inspect(ws *workspace) (k6x.Build, error) {
	b := e.newBlame(ws)
	info, err := b.Inspect(ws.output())
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
	lock, err := ws.lock()
	if err != nil {
		return k6x.Build{}, gobuild.FileError("reading the lock", err)
	}
	if !ws.locked {
		if !ws.unconfirmed {
			e.sums.learn(lock.GoSum)
		}
		if lock.GoSum, err = e.needed(ws, lock.GoSum, info); err != nil {
			return k6x.Build{}, gobuild.FileError("reading the module versions", err)
		}
	}
	return gobuild.Report(info, lock), nil
}
