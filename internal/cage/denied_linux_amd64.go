package cage

import "golang.org/x/sys/unix"

// deniedToo are system calls that only older systems have.
var deniedToo = []uint32{unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_MKNOD}
