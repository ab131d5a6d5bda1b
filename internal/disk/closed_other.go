//go:build !linux

package disk

// WatchClose watches a file that another process is about to write. This system does not tell when it has closed it.
func WatchClose(string) (closed <-chan struct{}, stop func() (changed bool)) {
	return nil, func() bool { return false }
}
