package history

import (
	"context"
	"maps"
	"strings"
	"time"

	"k6x/cache/blob"
)

const (
	services  = shownPrefix + "services/" // <id>: written again and again by a service that lives
	meeting   = 3 * listed                // looks from one time to the next
	forgotten = 4 * meeting               // looks after which one that was not written is of a service that has ended
)

// Services returns when the services on the bucket that live, this one too, last said so.
func (l *Live) Services() map[string]time.Time {
	if l == nil {
		return nil
	}
	l.others.mu.Lock()
	defer l.others.mu.Unlock()
	return maps.Clone(l.others.services)
}

// meet says that this service lives, and looks which others do. Times of the bucket are compared with each other only.
func (l *Live) meet(ctx context.Context) error {
	own := l.cfg.Recorder.Service()
	if err := blob.PutBytes(ctx, l.bucket, services+own, []byte(own), blob.PutOptions{}); err != nil {
		return err
	}
	written := make(map[string]time.Time)
	for info, err := range l.bucket.List(ctx, services) {
		if err != nil {
			return err
		}
		if written[strings.TrimPrefix(info.Name, services)] = info.ModTime; len(written) == maxRunning {
			break
		}
	}
	now, latest := time.Now(), written[own]
	maps.DeleteFunc(written, func(id string, at time.Time) bool {
		written[id] = now.Add(min(0, at.Sub(latest)))
		return latest.Sub(at) > forgotten*l.cfg.Every
	})
	l.others.mu.Lock()
	defer l.others.mu.Unlock()
	l.others.services = written
	return nil
}
