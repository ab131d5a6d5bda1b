package fast

import (
	"io"
	"slices"
	"testing"

	"k6x/builder"
	"k6x/event"
)

// watched returns where the progress of a build goes, and what has come there.
func watched() (event.Sink, *[]event.Event) {
	var seen []event.Event
	return func(e event.Event) { seen = append(seen, e) }, &seen
}

func TestABuildWithoutTheGoCommandReportsTheLink(t *testing.T) {
	e := newEngine(t, standin(t), sharedDir, builder.Batch)
	recipe := e.recipe("v1.0.0", "hello@v0.1.0")
	makeBinary(t, e, recipe, nil)
	sink, seen := watched()
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, sink, io.Discard); err != nil {
		t.Fatal(err)
	}
	var steps []event.Step
	for _, at := range *seen {
		steps = append(steps, at.Step)
	}
	if !slices.Equal(steps, []event.Step{event.Preparing, event.Linking, event.Checking}) {
		t.Errorf("steps %v", steps)
	}
}

// What is done after the answer is not reported: the client has gone.
func TestNothingIsReportedAfterTheAnswer(t *testing.T) {
	e := newEngine(t, standin(t), warmDir(t), builder.Resident)
	makeBinary(t, e, e.recipe("v1.0.0"), nil)
	sink, seen := watched()
	if _, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "hello@v0.1.0")}, sink, io.Discard); err != nil {
		t.Fatal(err)
	}
	reported := len(*seen)
	e.native.Settle(t.Context())
	if len(*seen) != reported {
		t.Errorf("reported after the answer: %v", (*seen)[reported:])
	}
	if x := e.indexes.of(e.recipe("v1.0.0")); len(x.Archives) == 0 || e.wrong.Load() != 0 {
		t.Error("it was not compared")
	}
}
