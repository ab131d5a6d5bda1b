package bucket

// Remember enters a binding in memory, as a Lookup that is under way would.
func (s *Store) Remember(path, key string) { s.own.paths.Add(path, key) }
