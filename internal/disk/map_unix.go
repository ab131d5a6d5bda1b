//go:build unix

package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// Map returns the first size bytes of a file, which are read when they are looked at and take no memory of this process; release ends that. Where
// the file is shorter, or cannot be read, looking ends the program, or with [runtime/debug.SetPanicOnFault] panics.
func Map(file *os.File, size int64) (data []byte, release func(), err error) {
	data, err = unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return data, func() { _ = unix.Munmap(data) }, nil
}
