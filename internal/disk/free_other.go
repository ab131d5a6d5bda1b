//go:build !linux && !darwin && !freebsd && !windows

package disk

import "errors"

// Free is not known on this system.
func Free(string) (free, size int64, err error) { return 0, 0, errors.ErrUnsupported }
