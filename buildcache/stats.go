package buildcache

import "sync/atomic"

// Stats are counts since a cache was made.
type Stats struct {
	NearHits int64 // found in the directory
	FarHits  int64 // taken from the far level, by fetching ahead or when asked
	Misses   int64 // in neither
	Puts     int64 // compiled here

	PacksFetched  int64
	BytesFetched  int64 // compressed
	PacksSent     int64
	BytesSent     int64 // compressed
	OutputsSent   int64
	IndexesSent   int64
	Dropped       int64 // entries that were not sent, as too much waited or something failed
	ReadFailures  int64 // exchanges that failed or brought something wrong
	WriteFailures int64
	Late          int64 // times that Config.Wait was over

	ReadsPaused  bool // nothing is asked of the far level for now
	WritesPaused bool // nothing is sent to it for now
}

type counters struct {
	nearHits, farHits, misses, puts                         atomic.Int64
	packsFetched, bytesFetched                              atomic.Int64
	packsSent, bytesSent, outputsSent, indexesSent, dropped atomic.Int64
	readFailures, writeFailures, late                       atomic.Int64
}

// Stats returns what has happened so far.
func (c *Cache) Stats() Stats {
	n := &c.count
	return Stats{
		NearHits: n.nearHits.Load(), FarHits: n.farHits.Load(), Misses: n.misses.Load(), Puts: n.puts.Load(),
		PacksFetched: n.packsFetched.Load(), BytesFetched: n.bytesFetched.Load(),
		PacksSent: n.packsSent.Load(), BytesSent: n.bytesSent.Load(), OutputsSent: n.outputsSent.Load(),
		IndexesSent: n.indexesSent.Load(), Dropped: n.dropped.Load(),
		ReadFailures: n.readFailures.Load(), WriteFailures: n.writeFailures.Load(), Late: n.late.Load(),
		ReadsPaused: c.reads.open(), WritesPaused: c.writes.open(),
	}
}
