package builder

import (
	"context"
	"io"
	"sync"

	"k6x"
)

// Board knows how far the builds of an engine are. The zero value is ready.
type Board struct {
	mu     sync.Mutex // guards what follows
	builds map[string]Progress
}

// Watch returns an engine whose builds are on the board while they run, under the canonical path of
// their recipe.
func (b *Board) Watch(engine Engine) Engine { return &watched{engine, b} }

// Progress returns how far the build of a canonical path is, and whether one runs.
func (b *Board) Progress(path string) (Progress, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.builds[path]
	return p, ok
}

func (b *Board) set(path string, p Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.builds == nil {
		b.builds = make(map[string]Progress)
	}
	b.builds[path] = p
}

func (b *Board) remove(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.builds, path)
}

type watched struct {
	Engine
	board *Board
}

func (w *watched) Build(ctx context.Context, recipe k6x.Recipe, lock *k6x.Lock, out io.Writer) (k6x.Build, error) {
	path := recipe.Path()
	w.board.set(path, Progress{})
	defer w.board.remove(path)
	return w.Engine.Build(WithProgress(ctx, func(p Progress) {
		w.board.set(path, p)
		Report(ctx, p)
	}), recipe, lock, out)
}
