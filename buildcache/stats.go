package buildcache

// Stats are counts since a cache was made.
type Stats struct {
	LocalHits  int64 // found in the directory
	RemoteHits int64 // taken from the remote level, by fetching ahead or when asked
	Misses     int64 // in neither

	BytesFetched  int64 // compressed
	BytesSent     int64 // compressed
	OutputsSent   int64
	Dropped       int64 // entries that were not sent, as too much waited or something failed
	ReadFailures  int64 // exchanges that failed or brought something wrong
	WriteFailures int64

	ReadsPaused  bool // nothing is asked of the remote level for now
	WritesPaused bool // nothing is sent to it for now
}

// count changes the counts.
func (c *Cache) count(change func(*Stats)) {
	c.counting.Lock()
	defer c.counting.Unlock()
	change(&c.stats)
}

// Stats returns what has happened so far.
func (c *Cache) Stats() (s Stats) {
	c.count(func(now *Stats) { s = *now })
	s.ReadsPaused, s.WritesPaused = c.reads.open(), c.writes.open()
	return s
}
