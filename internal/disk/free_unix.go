//go:build linux || darwin || freebsd

package disk

import "golang.org/x/sys/unix"

// Free returns how many bytes are free for this user on the disk that a directory is on, and how many it has.
//
// Errors: errors.ErrUnsupported where that is not known.
func Free(dir string) (free, size int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}
