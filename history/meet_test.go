package history

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/event"
)

// Services know of each other from their start until a while after their end, though none has built anything.
func TestServicesKnowOfEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, log := &mem.Bucket{}, slog.New(slog.DiscardHandler)
		begin := func(id string) (*Live, func()) {
			recorder := NewRecorder(New(journal.New(journal.Config{Bucket: shared}), 100, log), &mem.Bucket{}, nil, id, log)
			l := NewLive(LiveConfig{Bucket: shared, Recorder: recorder, Events: new(event.Stream), Logger: log})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { l.Run(ctx); close(ended) }()
			return l, func() { stop(); <-ended }
		}
		ids := func(l *Live) string { return strings.Join(slices.Sorted(maps.Keys(l.Services())), " ") }
		first, endFirst := begin("first")
		second, endSecond := begin("second")
		time.Sleep(time.Minute)
		if a, b := ids(first), ids(second); a != "first second" || b != a {
			t.Errorf("%q and %q", a, b)
		}
		endSecond()
		ended := time.Now()
		time.Sleep(time.Minute)
		if seen := first.Services()["second"]; seen.After(ended) || ended.Sub(seen) > time.Minute {
			t.Errorf("the second was seen at %s, and ended at %s", seen, ended)
		}
		time.Sleep(2 * time.Minute)
		if a := ids(first); a != "first" {
			t.Errorf("later: %q", a)
		}
		endFirst()
		time.Sleep(48 * time.Hour)
		third, endThird := begin("third") // removes what the others left
		time.Sleep(time.Minute)
		endThird()
		for info, err := range shared.List(t.Context(), services) {
			if err != nil || info.Name != services+"third" {
				t.Errorf("left: %s %v", info.Name, err)
			}
		}
		if c := ids(third); c != "third" {
			t.Errorf("the third knows %q", c)
		}
	})
}
