package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	maxVerifies = 10        // that wait or run: others are to find room behind what clients wait for
)

// Verify returns a sink of the events of builds, which has a share of what workers built built again, behind everything and on another
// machine, and without the lock of the first and what others have compiled. If the bytes differ, or there are none and would never be, whoever made them is quarantined: that is
// one worker if the service made the others, else both.
func (h *Hub) Verify(share float64, record func(ctx context.Context, key string) (k6x.Artifact, error), builds *builder.Dedup) event.Sink {
	by, _ := lru.New[string, string](maxVerified) // workers by job; it fails for a size below 1 only
	again, _ := lru.New[string, bool](maxVerified)
	room := make(chan struct{}, maxVerifies)
	return func(e event.Event) {
		switch e.Type {
		case event.Started:
			by.Add(e.Job, e.Worker)
		case event.Stored:
			first, _ := by.Get(e.Job)
			if first == "" || again.Contains(e.Key) || rand.Float64() >= share {
				return
			}
			log := h.cfg.Logger.With("worker", first, "path", e.Path)
			select {
			case room <- struct{}{}:
			default:
				log.Warn("a build is not verified: so many are already")
				return
			}
			again.Add(e.Key, true)
			go func() {
				defer func() { <-room }()
				defer again.Remove(e.Key)
				ctx, cancel := context.WithTimeout(context.Background(), verifyTime)
				defer cancel()
				kept, err := record(ctx, e.Key)
				if err != nil {
					log.Warn("a build is not verified", "error", err)
					return
				}
				id, wait, err := builds.Join(ctx, builder.Job{Recipe: kept.Recipe, Rebuild: true, Alone: true, Priority: builder.Background, Avoid: []string{first}})
				if err == nil {
					_, err = wait(ctx)
				}
				if err == nil {
					return
				}
				reason := "the bytes of %[1]s by %[2]s differ from those by %[3]s"
				if !errors.Is(err, builder.ErrDiffers) {
					if _, lost := errors.AsType[*builder.Lost](err); lost || !k6x.KindOf(err).Lasting() {
						log.Warn("a build is not verified", "error", err)
						return
					}
					log.Error("what a worker built cannot be built", "error", err)
					reason = "%[2]s built %[1]s, which fails for %[3]s"
				}
				second, _ := by.Get(id)
				wrong := []string{first}
				if second != "" {
					wrong = append(wrong, second)
				}
				h.quarantine(fmt.Sprintf(reason, e.Path, first, cmp.Or(second, "this service")), wrong...)
			}()
		}
	}
}
