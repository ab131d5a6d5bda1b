package cache

import "context"

// Stats is what a [Limited] store holds, for metrics.
type Stats struct {
	Artifacts int   // whole ones
	Evicted   int   // records whose bytes were removed
	Bytes     int64 // of binaries and records
	Limit     int64 // of Bytes; 0 means none
	Evictions int64 // binaries removed to make room, since the store was opened
	Forgotten int64 // records of evicted binaries that were removed as well, since then

	Unlinked int64 // bytes of binaries that were removed while they were open: they take room until they are closed

	Full string // why nothing can be stored now, if the disk is full, though what may go was removed; else ""
}

// Limited is a [Store] that bounds its size. To make room it removes the least
// recently used binaries; the records that they leave behind may take an eighth
// of the limit, beyond which the least recently used are forgotten. Nothing that
// is pinned is removed. What is open goes last, can be read until it is closed, and does not count for the limit any more.
type Limited interface {
	Store

	// Pin keeps key from being evicted, also if it is stored later, until unpin is
	// called. Pins are counted; calling one unpin twice does no harm.
	Pin(key string) (unpin func())

	// MakeRoom removes the binary that was used longest ago, for a disk that is full as an error says, and reports whether there was one.
	MakeRoom(ctx context.Context, full error) bool

	// Describe returns an entry without Body for a binary that is there, and counts that as a use; nil if it is not in memory what that would have, so
	// that it has to be opened.
	Describe(ctx context.Context, key string) *Entry

	// Stats returns what the store holds now.
	Stats() Stats
}
