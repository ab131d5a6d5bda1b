package builder_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"k6x"
	"k6x/builder"
)

// steps is an engine that tells its steps.
type steps struct{ at func(builder.Step) }

func (s steps) Build(ctx context.Context, _ k6x.Recipe, _ *k6x.Lock, _ io.Writer) (k6x.Build, error) {
	for step := builder.Fetching; step <= builder.Linking; step++ {
		builder.Report(ctx, builder.Progress{Step: step, Done: 1, Total: 2})
		s.at(step)
	}
	return k6x.Build{}, errors.New("it failed")
}

func TestBoardKnowsHowFarABuildIsWhileItRuns(t *testing.T) {
	var board builder.Board
	recipe := k6x.NewRecipe(k6x.Platform{OS: "linux", Arch: "amd64"}, []k6x.Module{{Path: "go.k6.io/k6", Version: "v1.8.1", Names: []string{"k6"}}}, false, k6x.Settings{})
	var seen, told []builder.Step
	engine := board.Watch(steps{func(step builder.Step) {
		p, ok := board.Progress(recipe.Path())
		if !ok || p != (builder.Progress{Step: step, Done: 1, Total: 2}) {
			t.Errorf("in step %s the board says %+v, %v", step, p, ok)
		}
		seen = append(seen, p.Step)
	}})
	ctx := builder.WithProgress(t.Context(), func(p builder.Progress) { told = append(told, p.Step) })
	if _, err := engine.Build(ctx, recipe, nil, io.Discard); err == nil || err.Error() != "it failed" {
		t.Error(err)
	}
	if len(seen) != 3 || len(told) != 3 {
		t.Errorf("seen %v, told %v", seen, told)
	}
	if p, ok := board.Progress(recipe.Path()); ok {
		t.Errorf("after the build: %+v", p)
	}
}
