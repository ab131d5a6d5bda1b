package disk

import (
	"errors"
	"io/fs"
	"syscall"

	"golang.org/x/sys/windows"
)

// IsFull reports whether an error says that a disk or a quota is full.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED) || errors.Is(err, syscall.ENOSPC)
}

// IsOnly reports whether a file is a regular one. Whether it has another name is not known here.
func IsOnly(info fs.FileInfo) bool { return info.Mode().IsRegular() }

// State returns what tells that a file is another one or was changed. That is not known here.
func State(fs.FileInfo) (inode uint64, changed int64) { return 0, 0 }

// Free returns how many bytes are free for this user on the disk that a directory is on, and how many it has.
func Free(dir string) (free, size int64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var available, total uint64
	err = windows.GetDiskFreeSpaceEx(name, &available, &total, nil)
	return int64(available), int64(total), err
}

// Windows cannot flush a directory; NTFS journals its entries.
func syncDir(string) error { return nil }

// Flush does nothing here, where only what is open for writing can be made durable.
func Flush(string) error { return nil }
