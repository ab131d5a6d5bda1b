package container

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/client"
)

// label is on every container of ours; its value is for how many seconds it may be needed.
const label = "k6x.limit"

// sweepGrace is added to what the label says, for clocks that differ.
const sweepGrace = 5 * time.Minute

// sweep removes the containers that are, at the time now, left of processes that died before
// they could.
func (e *Engine) sweep(ctx context.Context, now time.Time) {
	ctx, stop := context.WithTimeout(ctx, pingTime)
	defer stop()
	found, err := e.client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", label)})
	if err != nil {
		e.log.Warn("leftover containers cannot be looked for", "err", err)
		return
	}
	for _, c := range found.Items {
		limit, err := strconv.Atoi(c.Labels[label])
		if err != nil || now.Sub(time.Unix(c.Created, 0)) < time.Duration(limit)*time.Second+sweepGrace {
			continue
		}
		if _, err := e.client.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			e.log.Warn("a leftover container cannot be removed", "container", c.ID, "err", err)
			continue
		}
		e.log.Info("removed a leftover container", "container", c.ID)
	}
}
