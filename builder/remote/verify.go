package remote

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

const (
	verifyTime  = time.Hour // for a build that is made again, with its wait
	maxVerified = 1000      // jobs of which it is known who built them
)

// Verify returns a sink of the events of builds, which has a share of what workers built built again, behind everything and on another
// machine. If the bytes differ, whoever made them is quarantined: that is one worker if the service made the others, else both.
func (h *Hub) Verify(share float64, record func(ctx context.Context, key string) (k6x.Artifact, error), builds *builder.Dedup) event.Sink {
	by, _ := lru.New[string, string](maxVerified) // workers by job; it fails for a size below 1 only
	again, _ := lru.New[string, bool](maxVerified)
	return func(e event.Event) {
		switch e.Type {
		case event.Started:
			by.Add(e.Job, e.Worker)
		case event.Stored:
			first, _ := by.Get(e.Job)
			if first == "" || again.Contains(e.Key) || rand.Float64() >= share {
				return
			}
			again.Add(e.Key, true)
			go func() {
				defer again.Remove(e.Key)
				ctx, cancel := context.WithTimeout(context.Background(), verifyTime)
				defer cancel()
				kept, err := record(ctx, e.Key)
				if err != nil {
					return
				}
				id, wait, err := builds.Join(ctx, builder.Job{Recipe: kept.Recipe, Rebuild: true, Priority: builder.Background, Avoid: first})
				if err != nil {
					return
				}
				if _, err = wait(ctx); !errors.Is(err, builder.ErrDiffers) {
					return
				}
				second, _ := by.Get(id)
				for _, worker := range []string{first, second} {
					if worker != "" {
						h.quarantine(worker, "the bytes of "+e.Path+" by "+first+" differ from those by "+cmp.Or(second, "this service"))
					}
				}
			}()
		}
	}
}
