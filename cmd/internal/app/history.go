package app

import (
	"path/filepath"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/dir"
	"k6x/cache/bucket"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/history"
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
	pending, err := dir.Open(filepath.Join(a.options.CacheDir, "attempts"), 0o755)
	if err != nil {
		return err
	}
	a.entries = entries
	h := history.New(a.openJournal("history/", a.options.NewsKeep), maxResults, a.logger)
	a.builds = service.Builds{History: h, Recorder: history.NewRecorder(h, pending, a.logger), Events: &a.events, Public: a.options.PublicHistory}
	if a.store.bucket != nil {
		a.logs.Share(blob.Prefixed(entries, "logs/"))
		a.builds.Live = history.NewLive(history.LiveConfig{
			Bucket: entries, Leases: bucket.NewLeases(a.store.bucket, bucket.LeaseConfig{}), Recorder: a.builds.Recorder, Events: &a.events, Logs: a.logs, Logger: a.logger,
		})
	}
	return nil
}

// openJournal opens a journal beside the history; keep is 0 for ever.
func (a *App) openJournal(prefix string, keep time.Duration) *journal.Journal {
	j := journal.New(journal.Config{Bucket: a.entries, Prefix: prefix, Keep: keep, Logger: a.logger})
	a.journals = append(a.journals, j)
	return j
}

// record is the sink of the results of builds.
func (a *App) record(e event.Event) {
	if a.builds.Recorder != nil {
		a.builds.Recorder.Publish(e)
	}
}
