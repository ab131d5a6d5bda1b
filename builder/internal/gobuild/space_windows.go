package gobuild

import (
	"errors"
	"syscall"
)

// NoSpace reports whether err says that a disk is full.
func NoSpace(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)
}
