package cage

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (seccomp(2)) of the little-endian systems that Go knows; the lower half of an
// argument is all that the kernel looks at for those that are int.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// x32 marks system calls of amd64 that have another numbering.
const x32 = 0x40000000

// architectures are those that filters can be made for.
var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// denied are system calls that reach other processes, or the kernel by ways that Landlock and the rest of the filter do
// not see. No tool needs one of them.
var denied = []uint32{
	unix.SYS_IO_URING_SETUP, // makes sockets, too
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_MQ_OPEN,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_FCHOWNAT, unix.SYS_FCHOWN, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_MKNODAT,
	unix.SYS_MOUNT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_BY_HANDLE_AT,
}

// filter is a seccomp filter in the making.
type filter []unix.SockFilter

func (f *filter) load(offset uint32) {
	*f = append(*f, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

// ifThen runs the next n instructions only if the loaded word is k; jump is BPF_JEQ, BPF_JGE or BPF_JSET.
func (f *filter) ifThen(jump uint16, k uint32, n uint8) {
	*f = append(*f, unix.SockFilter{Code: unix.BPF_JMP | jump | unix.BPF_K, K: k, Jf: n})
}

// ifNot runs the next n instructions only if not.
func (f *filter) ifNot(jump uint16, k uint32, n uint8) {
	*f = append(*f, unix.SockFilter{Code: unix.BPF_JMP | jump | unix.BPF_K, K: k, Jt: n})
}

func (f *filter) answer(action uint32) {
	*f = append(*f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action})
}

// refuse ends with "operation not permitted".
func (f *filter) refuse() { f.answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)) }

// newFilter returns the filter for programs with that reach.
func newFilter(arch uint32, network Network) filter {
	var f filter
	f.load(offsetArch)
	f.ifNot(unix.BPF_JEQ, arch, 1)
	f.answer(unix.SECCOMP_RET_KILL_PROCESS) // of a 32-bit system, say, whose calls have other numbers
	f.load(offsetNumber)
	if arch == unix.AUDIT_ARCH_X86_64 {
		f.ifThen(unix.BPF_JGE, x32, 1)
		f.refuse()
	}
	for _, number := range slices.Concat(denied, deniedToo) {
		f.ifThen(unix.BPF_JEQ, number, 1)
		f.refuse()
	}
	switch network {
	case NoNetwork:
		f.ifThen(unix.BPF_JEQ, unix.SYS_SOCKET, 1)
		f.refuse()
	case Ports:
		f.tcpOnly()
	}
	f.answer(unix.SECCOMP_RET_ALLOW)
	return f
}

// tcpOnly refuses all sockets but those that Landlock knows: of TCP over IP. Landlock does not see multipath TCP.
func (f *filter) tcpOnly() {
	var inner filter
	inner.load(offsetArgs) // domain
	inner.ifNot(unix.BPF_JEQ, unix.AF_INET, 2)
	inner.ifNot(unix.BPF_JEQ, unix.AF_INET6, 1)
	inner.refuse()
	inner.load(offsetArgs + 8) // type, with flags above the lowest four bits
	inner.ifThen(unix.BPF_JSET, 0xf&^unix.SOCK_STREAM, 1)
	inner.refuse()
	inner.load(offsetArgs + 16) // protocol
	inner.ifNot(unix.BPF_JEQ, unix.IPPROTO_TCP, 2)
	inner.ifNot(unix.BPF_JEQ, 0, 1)
	inner.refuse()
	inner.answer(unix.SECCOMP_RET_ALLOW)
	f.ifThen(unix.BPF_JEQ, unix.SYS_SOCKET, uint8(len(inner)))
	*f = append(*f, inner...)
}

// loadFilter restricts this thread, which must have no_new_privs, and what it starts.
func loadFilter(network Network) error {
	arch, ok := architectures[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no seccomp filter is known for %s", runtime.GOARCH)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	f := newFilter(arch, network)
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	if _, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); err != 0 {
		return err
	}
	return nil
}
