//go:build unix

package native

import (
	"errors"
	"syscall"
)

// noSpace reports whether err says that a disk or quota is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
