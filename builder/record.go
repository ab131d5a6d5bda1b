package builder

import (
	"context"
	"errors"
	"io"
	"time"

	"k6x"
)

// Outcome is what came of one run of an engine.
type Outcome struct {
	Recipe   k6x.Recipe
	Rebuild  bool          // it was made before and its lock was used
	Err      error         // nil if it succeeded
	Duration time.Duration // of the run, without the time in a queue
}

// Record returns an engine that tells observe the outcome of each build of engine;
// observe may be called by several builds at once.
func Record(engine Engine, observe func(context.Context, Outcome)) Engine {
	return recorded{engine, observe}
}

type recorded struct {
	Engine
	observe func(context.Context, Outcome)
}

var errPanicked = errors.New("the engine panicked")

func (r recorded) Build(ctx context.Context, recipe k6x.Recipe, lock *k6x.Lock, w io.Writer) (build k6x.Build, err error) {
	start := time.Now()
	err = errPanicked // until the engine returns
	defer func() {
		r.observe(ctx, Outcome{Recipe: recipe, Rebuild: lock != nil, Err: err, Duration: time.Since(start)})
	}()
	return r.Engine.Build(ctx, recipe, lock, w)
}
