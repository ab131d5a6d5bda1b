package service

import (
	"log/slog"
	"slices"
	"testing"

	"k6x/builder"
	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/history"
)

// Why a worker is quarantined names modules, which not everybody may see.
func TestAWorkerWithoutNamesOfModules(t *testing.T) {
	for state, want := range map[string]string{"quarantined": "the log of the service says what", "drained": "it sent 3 bytes for /linux/amd64/k6/x/secret"} {
		w := builder.Worker{State: state, Build: "1", Path: "/linux/amd64/k6/x/secret", Reason: "it sent 3 bytes for /linux/amd64/k6/x/secret"}
		if hideModules(&w); w.Reason != want || w.Build != "" || w.Path != "" {
			t.Errorf("%+v", w)
		}
	}
}

// A worker that is quarantined and builds yet has several rows, of which the first has the list.
func TestWhatIsUnverifiedIsListedOnce(t *testing.T) {
	h := history.New(journal.New(journal.Config{Bucket: &mem.Bucket{}}), 10, slog.New(slog.DiscardHandler))
	for _, r := range []history.Result{
		{ID: "1", Worker: "w1", Outcome: history.Built, Digest: "a", Path: "/a"},
		{ID: "2", Worker: "w2", Outcome: history.Built, Digest: "a", Path: "/a", Alone: true},
		{ID: "3", Worker: "w3", Outcome: history.Built, Digest: "b", Path: "/b"},
	} {
		if err := h.Append(t.Context(), history.Entry{Type: history.Build, Result: &r}); err != nil {
			t.Fatal(err)
		}
	}
	rows := []builder.Worker{{Name: "w1", State: "quarantined"}, {Name: "w1", State: "quarantined"}, {Name: "w2", State: "revoked"}, {Name: "w3", State: "idle"}}
	addUnverified(rows, h)
	for i, want := range [][]string{{"/a"}, nil, nil, nil} {
		if !slices.Equal(rows[i].Unverified, want) {
			t.Errorf("%+v: want %q", rows[i], want)
		}
	}
}
