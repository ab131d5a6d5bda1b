//go:build unix

package cli

import "golang.org/x/sys/unix"

// openFiles returns how many files this process may have open; 0 if that is not bounded.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur)
}
