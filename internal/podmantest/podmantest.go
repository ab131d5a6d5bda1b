// Package podmantest starts a Podman for tests, with an image to build Go programs in, so
// that what speaks Docker's API is tested with a real daemon and real containers. All that it
// keeps is in a directory of its own.
package podmantest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x/internal/cage"
)

// Image is the name of the image.
const Image = "localhost/k6x-go:test"

// Service is a Podman with [Image] that the tests of a process share. The zero value is
// ready; Close has to be called in the end, by TestMain.
type Service struct {
	once sync.Once
	err  error
	dir  string
	disk string // the storage driver
	log  bytes.Buffer

	stop  context.CancelFunc // nil: it does not run
	ended chan struct{}
}

// Host returns the address of the service, which is started at the first call. It skips the
// test unless K6X_TEST_FULL asks for all tests, and fails it then if there is no Podman here.
func (s *Service) Host(t testing.TB) string {
	t.Helper()
	if os.Getenv("K6X_TEST_FULL") == "" {
		t.Skip("SKIPPED: builds in containers take long, and are left to K6X_TEST_FULL=1")
	}
	if _, err := exec.LookPath("podman"); err != nil {
		t.Fatal("podman is not on PATH")
	}
	if os.Geteuid() != 0 {
		t.Skip("this test runs podman as root")
	}
	s.once.Do(func() {
		if s.err = s.start(); s.err != nil {
			s.err = errors.Join(s.err, s.Close())
		}
	})
	if s.err != nil {
		t.Fatalf("starting podman: %v\n%s", s.err, &s.log)
	}
	return s.host()
}

func (s *Service) host() string { return "unix://" + filepath.Join(s.dir, "podman.sock") }

// Close ends the service and removes all that it has kept.
func (s *Service) Close() error {
	if s.dir == "" {
		return nil
	}
	var errs []error
	if s.stop != nil {
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		if out, err := s.command(ctx, "rm", "--all", "--force", "--time", "0").CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("removing containers: %w: %s", err, out))
		}
		s.stop()
		<-s.ended
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// Podman runs podman, also in a cleanup, with args where the service keeps its things, and returns what it prints.
func (s *Service) Podman(t testing.TB, args ...string) string {
	t.Helper()
	s.Host(t)
	out, err := s.command(context.WithoutCancel(t.Context()), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("podman %v: %v: %s", args, err, out)
	}
	return string(out)
}

// command returns podman with what it needs to run where not all of a machine is to be had:
// no cgroups of systemd's, no network of its own.
func (s *Service) command(ctx context.Context, args ...string) *exec.Cmd {
	all := []string{"--root", filepath.Join(s.dir, "root"), "--runroot", filepath.Join(s.dir, "run"), "--tmpdir", filepath.Join(s.dir, "tmp"),
		"--cgroup-manager=cgroupfs", "--storage-driver=" + s.disk, "--events-backend=none"}
	if runc, err := exec.LookPath("runc"); err == nil {
		all = append(all, "--runtime", runc)
	}
	cmd := exec.CommandContext(ctx, "podman", append(all, args...)...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+filepath.Join(s.dir, "containers.conf"))
	return cmd
}

const conf = `[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
lock_type = "file"
`

func (s *Service) configure() error {
	return os.WriteFile(filepath.Join(s.dir, "containers.conf"), []byte(conf), 0o644)
}

func (s *Service) start() error {
	dir, err := os.MkdirTemp("", "podman")
	if err != nil {
		return err
	}
	s.dir = dir
	if err := s.configure(); err != nil {
		return err
	}
	s.disk = "overlay"
	if s.command(context.Background(), "info").Run() != nil {
		s.disk = "vfs" // which copies the image for each container
		for _, name := range []string{"root", "run", "tmp"} {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	if err := s.importImage(ctx); err != nil {
		return err
	}
	return s.serve(ctx)
}

// serve starts the service, which ends with this process.
func (s *Service) serve(ctx context.Context) error {
	running, stop := context.WithCancel(context.Background())
	s.stop, s.ended = stop, make(chan struct{})
	cmd := s.command(running, "system", "service", "--time", "0", s.host())
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	go func() {
		defer close(s.ended)
		_ = cage.Run(cmd) // the log says what it says
	}()
	for ticks := time.NewTicker(50 * time.Millisecond); ; { // until it listens
		conn, err := net.Dial("unix", strings.TrimPrefix(s.host(), "unix://"))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ticks.C:
		case <-s.ended:
			return errors.New("podman ended")
		case <-ctx.Done():
			return err
		}
	}
}

// importImage makes the image. It has settings that a build has to do without.
func (s *Service) importImage(ctx context.Context) error {
	tar, err := packRoot(ctx)
	if err != nil {
		return err
	}
	args := []string{"import"}
	for _, change := range []string{
		"ENV PATH=/usr/local/go/bin:/usr/bin:/bin", "ENV GOFLAGS=-race", "ENV GOAMD64=v3", "ENV GOTOOLCHAIN=local", "ENV GOPROXY=off",
		`ENTRYPOINT ["/nowhere"]`, "USER 1000",
	} {
		args = append(args, "--change", change)
	}
	load := s.command(ctx, append(args, "-", Image)...)
	var packing bytes.Buffer // two programs do not write to one buffer
	load.Stdout, load.Stderr, tar.Stderr = &s.log, &s.log, &packing
	packed, err := tar.StdoutPipe()
	if err != nil {
		return err
	}
	load.Stdin = packed
	if err := tar.Start(); err != nil {
		return err
	}
	if err = load.Run(); err != nil {
		_ = packed.Close() // it is read no further, which ends the other program
	}
	err = errors.Join(err, tar.Wait())
	s.log.Write(packing.Bytes())
	return err
}
