package app

import (
	"path/filepath"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/dir"
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
