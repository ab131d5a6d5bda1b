package buildcache

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/internal/cage"
)

// endpoint is where go commands connect: a socket in a directory that only this user may enter.
type endpoint struct {
	dir      string
	path     string
	listener net.Listener
	sessions sync.Map        // *Session by id
	open     context.Context // ends when the endpoint is closed, and with it all conversations
	end      context.CancelFunc
}

const greeting = 5 * time.Second // in which a relay says for which session it comes

// Attach makes a go command, which runs in a cage, use this session until the session is closed. Release is to be called
// when the command has ended, or was not started.
func (s *Session) Attach(cmd *exec.Cmd, p *cage.Policy) (release func(), err error) {
	path, id, err := s.enter()
	if err != nil {
		return nil, err
	}
	way, release := []string{path, id}, func() {}
	if runtime.GOOS != "windows" {
		// In a cage no socket can be made, so the command gets one that is connected.
		conn, err := connect(context.Background(), path, id)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		file, err := conn.File()
		if err != nil {
			return nil, err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		way, release = []string{strconv.Itoa(2 + len(cmd.ExtraFiles))}, func() { file.Close() }
	}
	var words []string
	for _, word := range slices.Concat(s.c.cfg.Relay, way) {
		q, err := quote(word)
		if err != nil {
			release()
			return nil, err
		}
		words = append(words, q)
	}
	cmd.Env = append(cmd.Environ(), "GOCACHEPROG="+strings.Join(words, " "))
	p.Exec = append(p.Exec, s.c.cfg.Relay[0])
	return release, nil
}

// enter returns the path of the socket and the word that opens this session there.
func (s *Session) enter() (path, id string, err error) {
	d, err := s.c.openEndpoint()
	if err != nil {
		return "", "", k6x.Errorf(k6x.Internal, "the build cache of the go command cannot be served").WithCause(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", "", k6x.Errorf(k6x.Internal, "the build is over")
	}
	if s.id == "" {
		s.id = rand.Text()
		d.sessions.Store(s.id, s)
	}
	return d.path, s.id, nil
}

// connect connects with the session that has the id.
func connect(ctx context.Context, path, id string) (*net.UnixConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, k6x.Errorf(k6x.Unavailable, "the build that this go command belongs to is over").WithCause(err)
	}
	if _, err := fmt.Fprintln(conn, id); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn.(*net.UnixConn), nil
}

// quote writes a word as the go command reads it: quotes as in a shell, no escapes.
func quote(word string) (string, error) {
	switch {
	case word != "" && !strings.ContainsAny(word, " \t\n\r'\""):
		return word, nil
	case !strings.Contains(word, "'"):
		return "'" + word + "'", nil
	case !strings.Contains(word, `"`):
		return `"` + word + `"`, nil
	}
	return "", k6x.Errorf(k6x.Internal, "the go command cannot be told to run %s", word)
}

// openEndpoint returns the endpoint, which it makes the first time.
func (c *Cache) openEndpoint() (*endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.endpoint != nil {
		return c.endpoint, nil
	}
	dir, err := os.MkdirTemp("", "k6x-") // the path of a socket has to be short
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	d := &endpoint{dir: dir, path: path, listener: listener}
	d.open, d.end = context.WithCancel(context.Background())
	c.endpoint = d
	c.work.Go(func() { c.accept(d) })
	return d, nil
}

func (c *Cache) accept(d *endpoint) {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		c.work.Go(func() {
			if err := d.serve(c.life, conn); err != nil {
				c.log.Debug("a go command and its build cache did not understand each other", "error", err)
			}
		})
	}
}

func (d *endpoint) serve(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	defer context.AfterFunc(d.open, func() { conn.Close() })()
	if err := conn.SetReadDeadline(time.Now().Add(greeting)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, 64)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	s, ok := d.sessions.Load(strings.TrimSuffix(string(line), "\n"))
	if !ok {
		return errors.New("no such session")
	}
	return Serve(ctx, in, conn, s.(*Session))
}

// leave ends the use of the endpoint by a session. A go command that is still there goes on.
func (c *Cache) leave(id string) {
	c.mu.Lock()
	d := c.endpoint
	c.mu.Unlock()
	d.sessions.Delete(id)
}

func (d *endpoint) close() {
	d.listener.Close()
	d.end()
	os.RemoveAll(d.dir)
}

// Relay is the program that the go command runs: it connects in and out, those of the process, with the session that
// [Session.Attach] named in args: by the number of an open file, or by a socket's path and a word.
func Relay(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	var conn *net.UnixConn
	var err error
	switch len(args) {
	case 1:
		conn, err = inherited(args[0])
	case 2:
		conn, err = connect(ctx, args[0], args[1])
	default:
		err = k6x.Errorf(k6x.Invalid, "this command is for the go command, which k6x tells how to call it")
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, in) // a failure shows in the other direction
		_ = conn.CloseWrite()
	}()
	_, err = io.Copy(out, conn)
	return err
}

// inherited returns the connection that this process was started with.
func inherited(number string) (*net.UnixConn, error) {
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "%q is not the number of an open file", number)
	}
	file := os.NewFile(uintptr(n), "session")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "this command is for the go command, which k6x tells how to call it").WithCause(err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("the open file is not a socket of this system"), conn.Close())
	}
	return unixConn, nil
}
