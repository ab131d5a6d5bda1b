package cage

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempt is the variable that makes a process of the test program one of those in a cage: it tries what it says, and
// exits with 0 if that worked.
const attempt = "CAGE_TEST_ATTEMPT"

func TestMain(m *testing.M) {
	if name := os.Getenv(attempt); name != "" {
		try, ok := attempts[name]
		if !ok {
			panic(name)
		}
		if err := try(os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func dial(network string) func([]string) error {
	return func(args []string) error {
		conn, err := net.DialTimeout(network, args[0], 5*time.Second)
		if err != nil {
			return err
		}
		if network == "udp" {
			_, err = conn.Write([]byte("x"))
		}
		return errors.Join(err, conn.Close())
	}
}

func socket(domain, kind, protocol int) func([]string) error {
	return func([]string) error {
		fd, err := unix.Socket(domain, kind, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

var attempts = map[string]func(args []string) error{
	"read":     func(args []string) error { _, err := os.ReadFile(args[0]); return err },
	"list":     func(args []string) error { _, err := os.ReadDir(args[0]); return err },
	"write":    func(args []string) error { return os.WriteFile(args[0], []byte("x"), 0o644) },
	"truncate": func(args []string) error { return os.Truncate(args[0], 0) },
	"remove":   func(args []string) error { return os.RemoveAll(args[0]) },
	"link":     func(args []string) error { return os.Link(args[0], args[1]) },
	"rename":   func(args []string) error { return os.Rename(args[0], args[1]) },
	"chown":    func(args []string) error { return os.Chown(args[0], os.Getuid(), os.Getgid()) },
	"exec":     func(args []string) error { return exec.Command(args[0]).Run() },
	"tcp":      dial("tcp"),
	"udp":      dial("udp"),
	"unix":     dial("unix"),
	"listen": func([]string) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			l.Close()
		}
		return err
	},
	"mptcp": func(args []string) error {
		port, _ := strconv.Atoi(args[0])
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	},
	"netlink":  socket(unix.AF_NETLINK, unix.SOCK_RAW, 0),
	"vsock":    socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"datagram": socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0),
	"signal":   func([]string) error { return syscall.Kill(os.Getppid(), 0) },
	"ptrace": func([]string) error {
		_, _, err := unix.Syscall(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(os.Getppid()), 0)
		if err != 0 {
			return err
		}
		return nil
	},
	"memory": func([]string) error {
		_, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/environ")
		return err
	},
	"shm": func([]string) error {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, 0o600)
		if err == nil {
			_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
		return err
	},
	"uring": func([]string) error {
		var params [120]byte
		fd, _, err := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		if err != 0 {
			return err
		}
		return unix.Close(int(fd))
	},
	"spin": func([]string) error {
		for begin := time.Now(); time.Since(begin) < 20*time.Second; {
		}
		return nil
	},
	"large": func(args []string) error { return os.WriteFile(args[0], make([]byte, 3<<20), 0o644) },
	"print": func([]string) error {
		_, err := io.CopyN(os.Stdout, zeros{}, 1<<30)
		return err
	},
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func do(t *testing.T, c *Cage, p Policy, name string, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), attempt+"="+name)
	out := &Output{Max: 1 << 16}
	cmd.Stdout, cmd.Stderr = out, out
	err = c.Run(cmd, p)
	return strings.TrimSpace(out.String()), err
}

func newCage(t *testing.T, limits Limits) *Cage {
	t.Helper()
	c, err := New(Config{Mode: Auto, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	if c.Report().State != Full {
		if os.Getenv("K6X_TEST_FULL") != "" {
			t.Fatal("this system cannot confine fully: " + c.Report().String())
		}
		t.Skip("SKIPPED: this system cannot confine fully: " + c.Report().String())
	}
	return c
}

func write(t *testing.T, elements ...string) string {
	t.Helper()
	name := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("words"), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAttemptsFailInsideAndSucceedOutside(t *testing.T) {
	c := newCage(t, Limits{})
	dir := t.TempDir()
	secret, inside := write(t, dir, "secret", "file"), write(t, dir, "inside", "file")
	readable, work := filepath.Dir(inside), filepath.Join(dir, "work")
	write(t, work, "a", "file")
	if err := os.Symlink(secret, filepath.Join(work, "link")); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "secret", "true")
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{program, filepath.Join(work, "true")} {
		if err := os.WriteFile(name, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	port := func(l net.Listener, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	tcp := port(net.Listen("tcp", "127.0.0.1:0"))
	_, number, _ := net.SplitHostPort(tcp)
	multipath := func() string {
		var lc net.ListenConfig
		lc.SetMultipathTCP(true)
		_, number, _ := net.SplitHostPort(port(lc.Listen(t.Context(), "tcp", "127.0.0.1:0")))
		return number
	}()
	pathname := port(net.Listen("unix", filepath.Join(dir, "s")))
	abstract := port(net.Listen("unix", "@"+strings.ReplaceAll(dir, "/", "-")))
	fresh := func(name string) string { return write(t, dir, "secret", name) }

	policy := Policy{Read: []string{readable}, Write: []string{work}}
	for _, test := range []struct {
		name string
		args []string
	}{
		{"read", []string{secret}},
		{"read", []string{filepath.Join(work, "link")}},
		{"read", []string{filepath.Join(work, "..", "secret", "file")}},
		{"read", []string{"/etc/passwd"}},
		{"read", []string{"/proc/self/root" + secret}},
		{"memory", nil},
		{"list", []string{dir}},
		{"list", []string{"/"}},
		{"list", []string{"/proc"}},
		{"write", []string{filepath.Join(dir, "new")}},
		{"write", []string{inside}},
		{"truncate", []string{secret}},
		{"link", []string{secret, filepath.Join(work, "linked")}},
		{"rename", []string{fresh("moved"), filepath.Join(work, "moved")}},
		{"remove", []string{fresh("removed")}},
		{"chown", []string{secret}},
		{"exec", []string{program}},
		{"exec", []string{filepath.Join(work, "true")}},
		{"tcp", []string{tcp}},
		{"listen", nil},
		{"udp", []string{"127.0.0.1:9"}},
		{"mptcp", []string{multipath}},
		{"unix", []string{pathname}},
		{"unix", []string{abstract}},
		{"netlink", nil},
		{"datagram", nil},
		{"signal", nil},
		{"shm", nil},
	} {
		t.Run(test.name+" "+strings.Join(test.args, " "), func(t *testing.T) {
			if said, err := do(t, c, policy, test.name, test.args...); err == nil {
				t.Error("it worked inside")
			} else if !strings.Contains(said, "permitted") && !strings.Contains(said, "denied") && !strings.Contains(said, "cross-device") {
				t.Errorf("it failed inside for another reason: %s %v", said, err)
			}
			if said, err := do(t, nil, Policy{}, test.name, test.args...); err != nil {
				t.Errorf("it failed outside, too: %s", said)
			}
		})
	}
	// Whether these work outside depends on the system.
	for _, name := range []string{"uring", "ptrace", "vsock"} {
		if said, err := do(t, c, policy, name); err == nil || !strings.Contains(said, "permitted") {
			t.Errorf("%s: %s %v", name, said, err)
		}
	}

	for _, test := range []struct {
		name string
		args []string
	}{
		{"read", []string{inside}},
		{"list", []string{readable}},
		{"write", []string{filepath.Join(work, "new")}},
		{"write", []string{"/dev/null"}},
		{"rename", []string{filepath.Join(work, "a", "file"), filepath.Join(work, "moved")}},
		{"exec", []string{"/bin/true"}},
	} {
		if said, err := do(t, c, policy, test.name, test.args...); err != nil {
			t.Errorf("%s %s is in the policy, but fails: %s", test.name, test.args, said)
		}
	}

	t.Run("ports", func(t *testing.T) {
		n, _ := strconv.Atoi(number)
		policy := Policy{Network: Ports, Ports: []uint16{uint16(n)}}
		if said, err := do(t, c, policy, "tcp", tcp); err != nil {
			t.Errorf("the port that is named: %s", said)
		}
		other := port(net.Listen("tcp", "127.0.0.1:0"))
		for name, arg := range map[string]string{"tcp": other, "udp": "127.0.0.1:9", "mptcp": multipath, "unix": pathname, "listen": ""} {
			if said, err := do(t, c, policy, name, arg); err == nil || !strings.Contains(said, "permitted") && !strings.Contains(said, "denied") {
				t.Errorf("%s: %s %v", name, said, err)
			}
		}
	})
	t.Run("any network", func(t *testing.T) {
		policy := Policy{Network: AnyNetwork}
		for name, arg := range map[string]string{"tcp": tcp, "udp": "127.0.0.1:9", "unix": pathname} {
			if said, err := do(t, c, policy, name, arg); err != nil {
				t.Errorf("%s: %s", name, said)
			}
		}
		if _, err := do(t, c, policy, "unix", abstract); err == nil {
			t.Error("an abstract socket was reached")
		}
	})
}

// What a thread has given up is not given up by this process.
func TestThisProcessStaysFree(t *testing.T) {
	c := newCage(t, Limits{})
	secret := write(t, t.TempDir(), "secret")
	for range 50 {
		if _, err := do(t, c, Policy{}, "read", secret); err == nil {
			t.Fatal("it worked inside")
		}
		done := make(chan error)
		for range 8 {
			go func() {
				_, err := os.ReadFile(secret)
				done <- err
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for _, test := range []struct {
		name   string
		limits Limits
		want   Exceeded
	}{
		{"spin", Limits{CPU: time.Second}, Exceeded{CPU, 1}},
		{"print", Limits{Output: 1 << 20}, Exceeded{Printed, 1 << 20}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCage(t, test.limits)
			_, err := do(t, c, Policy{Write: []string{filepath.Dir(file)}}, test.name)
			if exceeded, ok := errors.AsType[*Exceeded](err); !ok || *exceeded != test.want {
				t.Errorf("%v, want %v", err, &test.want)
			}
		})
	}
	t.Run("large", func(t *testing.T) {
		c := newCage(t, Limits{FileSize: 1 << 20})
		said, err := do(t, c, Policy{Write: []string{filepath.Dir(file)}}, "large", file)
		if err == nil || !strings.Contains(said, "file too large") {
			t.Errorf("%v: %s", err, said)
		}
		if said, err := do(t, nil, Policy{}, "large", file); err != nil {
			t.Errorf("it fails without a limit, too: %s", said)
		}
	})
}

// These are programs of the system, as the race detector takes memory of its own.
func TestLimitOfMemory(t *testing.T) {
	run := func(memory int64, script string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
		out := &Output{Max: 1 << 16}
		cmd.Stdout, cmd.Stderr = out, out
		err := newCage(t, Limits{Memory: memory}).Run(cmd, Policy{})
		return out.String(), err
	}
	// tail keeps what it will print, and here waits to print it.
	const limit = 1000 << 20
	_, err := run(limit, "head -c 1200M /dev/zero | tail -c 1100M | (sleep 20; cat >/dev/null)")
	if exceeded, ok := errors.AsType[*Exceeded](err); !ok || *exceeded != (Exceeded{Memory, limit}) {
		t.Errorf("more than all processes may have: %v", err)
	}
	said, err := run(200<<20, "head -c 1200M /dev/zero | tail -c 1100M >/dev/null && echo well")
	if _, stopped := errors.AsType[*Exceeded](err); !stopped && !strings.Contains(said, "memory exhausted") { // whichever is faster
		t.Errorf("more than one process may have: %v: %s", err, said)
	}
	if said, err := run(2000<<20, "head -c 1200M /dev/zero | tail -c 1100M >/dev/null && echo well"); err != nil || said != "well\n" {
		t.Errorf("less than all may have: %v: %s", err, said)
	}
}
