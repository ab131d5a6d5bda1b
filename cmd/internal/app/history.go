package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"k6x/cache/blob"
	"k6x/cache/blob/dir"
	"k6x/cache/bucket"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/history"
	"k6x/internal/disk"
	"k6x/service"
)

// maxResults is how many results of builds are kept in memory, a kilobyte each.
const maxResults = 10_000

// openHistory opens what keeps the results of builds: in the bucket, for all services on it, or in a directory.
func (a *App) openHistory() error {
	entries, err := blob.Bucket(nil), error(nil)
	if a.store.bucket != nil {
		entries = a.store.bucket.Blobs()
	} else if entries, err = dir.Open(filepath.Join(a.options.CacheDir, "history"), 0o755); err != nil {
		return err
	}
	pending, err := a.openAttempts()
	if err != nil {
		return err
	}
	a.entries = entries
	h := history.New(a.openJournal("history/", a.options.NewsKeep), maxResults, a.logger)
	a.builds = service.Builds{
		History: h, Recorder: history.NewRecorder(h, pending, a.logs, serviceID(pending), a.logger), Events: &a.events, Public: a.options.PublicHistory,
		Versions: func() map[string][]string { return a.watcher.Versions() },
	}
	if a.store.bucket != nil {
		a.logs.Share(blob.Prefixed(entries, "logs/"))
		a.builds.Live = history.NewLive(history.LiveConfig{
			Bucket: entries, Recorder: a.builds.Recorder, Events: &a.events, Logger: a.logger,
			Leases: bucket.NewLeases(a.store.bucket, bucket.LeaseConfig{
				TTL: 30 * time.Second, Of: "this service", Lost: "others may take it for dead, and its builds for aborted",
			}),
		})
	}
	return nil
}

// openAttempts opens where results are kept until they are in the history: attempts, attempts-2 and so on in the cache directory, the first that no
// other service has that lives. What a service that died has left in those behind it is moved there.
func (a *App) openAttempts() (own blob.Bucket, err error) {
	base, taken := filepath.Join(a.options.CacheDir, "attempts"), ""
	for n, path := 2, base; ; n, path = n+1, fmt.Sprintf("%s-%d", base, n) {
		if _, err := os.Stat(path); taken != "" && err != nil {
			return own, nil
		}
		lock, err := disk.TryLock(path+".lock", false)
		switch {
		case err != nil:
			return nil, err
		case lock == nil:
		case taken == "":
			a.tools.OnClose(lock.Close)
			if taken, err = path, os.MkdirAll(path, 0o755); err != nil {
				return nil, err
			}
			if own, err = dir.Open(path, 0o755); err != nil {
				return nil, err
			}
		default:
			left, _ := os.ReadDir(path)
			for _, file := range left {
				if filepath.Ext(file.Name()) == ".json" { // else it is the id of that service
					err = errors.Join(err, os.Rename(filepath.Join(path, file.Name()), filepath.Join(taken, file.Name())))
				}
			}
			if err = errors.Join(err, lock.Close()); err != nil {
				a.logger.Warn("builds that another service left cannot be told of yet", "error", err)
			}
		}
	}
}

// serviceID returns the id of a service, which it has kept since its first start.
func serviceID(kept blob.Bucket) string {
	const name = "service-id"
	ctx := context.Background()
	text, err := blob.ReadAll(ctx, kept, name, 100)
	id := strings.TrimSpace(string(text))
	if err != nil || uuid.Validate(id) != nil {
		id = uuid.NewString()
		_ = blob.PutBytes(ctx, kept, name, []byte(id+"\n"), blob.PutOptions{}) // on a full disk the next start has another one
	}
	return id
}

// openJournal opens a journal beside the history; keep is 0 for ever.
func (a *App) openJournal(prefix string, keep time.Duration) *journal.Journal {
	j := journal.New(journal.Config{Bucket: a.entries, Prefix: prefix, Keep: keep, Logger: a.logger})
	a.journals = append(a.journals, j)
	return j
}

const (
	newsEach  = time.Hour // in which there are at most newsMost entries of workers that are quarantined: who has a token may have thousands, which would push out all else
	newsMost  = 20
	newsTime  = 10 * time.Second // to bring an entry into the history
	newsPaths = 100              // of one entry
	newsBytes = 32 << 10         // of these
)

// quarantined has the history tell that a worker is quarantined, one of those whose word counts for nothing.
func (a *App) quarantined(worker, reason string, doubted map[string]bool) {
	if !a.mayTell(time.Now()) {
		a.logger.Warn("that a worker is quarantined does not come into the history, as many have just been", "worker", worker)
		return
	}
	only := make(map[string]bool)
	for name := range doubted {
		only[name] = name == worker
	}
	paths, size := a.builds.History.Unverified(only, newsPaths)[worker], 0
	for i, path := range paths {
		if size += len(path); size > newsBytes {
			paths = paths[:i]
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), newsTime)
	defer cancel()
	if err := a.builds.History.Append(ctx, history.Entry{Type: history.Quarantine, Worker: worker, Reason: reason, Unverified: paths}); err != nil {
		a.logger.Error("that a worker is quarantined did not come into the history", "worker", worker, "error", err)
	}
}

// mayTell reports whether there may be one more entry of a worker that is quarantined, and counts it.
func (a *App) mayTell(now time.Time) bool {
	a.telling.Lock()
	defer a.telling.Unlock()
	if a.told = slices.DeleteFunc(a.told, func(t time.Time) bool { return now.Sub(t) >= newsEach }); len(a.told) >= newsMost {
		return false
	}
	a.told = append(a.told, now)
	return true
}

// record is the sink of the results of builds.
func (a *App) record(e event.Event) {
	if a.builds.Recorder != nil {
		a.builds.Recorder.Publish(e)
	}
}
