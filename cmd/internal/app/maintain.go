package app

import (
	"context"
	"time"
)

// How often the store is read through for damage, and Go's caches are bounded.
const (
	scrubFirst  = 10 * time.Minute
	scrubEvery  = 24 * time.Hour
	trimEvery   = 15 * time.Minute
	uploadEvery = time.Minute
)

// maintain keeps the directories sound and bounded until ctx ends.
func (a *App) maintain(ctx context.Context) {
	trim, scrub, upload := time.NewTicker(trimEvery), time.NewTimer(scrubFirst), time.NewTicker(uploadEvery)
	defer trim.Stop()
	defer upload.Stop()
	defer scrub.Stop()
	a.Trim(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-trim.C:
			a.Trim(ctx)
			a.trimStore(ctx)
			if err := a.logs.Maintain(ctx); err != nil && ctx.Err() == nil {
				a.logger.Warn("the logs in the bucket were not bounded", "error", err)
			}
			for _, j := range a.journals {
				if err := j.Maintain(ctx); err != nil && ctx.Err() == nil {
					a.logger.Warn("the history was not compacted", "error", err)
				}
			}
		case <-upload.C:
			a.upload(ctx)
		case <-scrub.C:
			a.scrub(ctx)
			scrub.Reset(scrubEvery)
		}
	}
}

// scrub reads through the store, if it is of a kind that wants it.
func (a *App) scrub(ctx context.Context) {
	if a.store.scrub == nil {
		return
	}
	report, err := a.store.scrub(ctx)
	a.logger.Info("store checked", "report", report, "error", err)
}

// upload tries again what could not be uploaded.
func (a *App) upload(ctx context.Context) {
	if a.store.upload == nil {
		return
	}
	if err := a.store.upload(ctx); err != nil && ctx.Err() == nil {
		a.logger.Warn("binaries still wait for the bucket of the store", "store", withoutSecrets(a.options.Store), "error", err)
	}
}

// trimStore bounds a store that does not do so itself.
func (a *App) trimStore(ctx context.Context) {
	if a.store.trim == nil {
		return
	}
	if err := a.store.trim(ctx); err != nil && ctx.Err() == nil {
		a.logger.Warn("the store was not trimmed", "store", withoutSecrets(a.options.Store), "error", err)
	}
}

// Trim bounds Go's caches, as an app that was started does from time to time.
func (a *App) Trim(ctx context.Context) {
	builds, modules := TrimGoCaches(ctx, a.engine, a.options.GoCacheSize, a.logger)
	a.sizes.builds.Store(builds)
	a.sizes.modules.Store(modules)
}
