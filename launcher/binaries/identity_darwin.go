package binaries

import (
	"io/fs"
	"syscall"
)

const canMoveOpen = true // a directory with open files in it can be renamed

func inodeOf(info fs.FileInfo) (inode uint64, change int64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino, st.Ctimespec.Nano()
	}
	return 0, 0
}
