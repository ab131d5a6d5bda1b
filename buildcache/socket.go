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
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x"
)

// door is where go commands come in: a socket in a directory that only this user may enter.
type door struct {
	dir      string
	path     string
	listener net.Listener

	mu       sync.Mutex // guards what follows
	sessions map[string]*Session
	conns    map[net.Conn]bool
	closed   bool
}

const greeting = 5 * time.Second // in which a relay says for which session it comes

// Environ returns the variable with which a go command uses this session, until the session is closed.
func (s *Session) Environ() (string, error) {
	d, err := s.c.openDoor()
	if err != nil {
		return "", k6x.Errorf(k6x.Internal, "the build cache of the go command cannot be served").WithCause(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", k6x.Errorf(k6x.Internal, "the build is over")
	}
	if s.id == "" {
		s.id = rand.Text()
		d.mu.Lock()
		d.sessions[s.id] = s
		d.mu.Unlock()
	}
	var words []string
	for _, word := range slices.Concat(s.c.cfg.Relay, []string{d.path, s.id}) {
		q, err := quote(word)
		if err != nil {
			return "", err
		}
		words = append(words, q)
	}
	return "GOCACHEPROG=" + strings.Join(words, " "), nil
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

// openDoor returns the door, which it makes the first time.
func (c *Cache) openDoor() (*door, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.door != nil {
		return c.door, nil
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
	d := &door{dir: dir, path: path, listener: listener, sessions: make(map[string]*Session), conns: make(map[net.Conn]bool)}
	c.door = d
	c.work.Go(func() { c.accept(d) })
	return d, nil
}

func (c *Cache) accept(d *door) {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		if !d.admit(conn) {
			conn.Close()
			return
		}
		c.work.Go(func() {
			if err := d.serve(c.life, conn); err != nil {
				c.log.Debug("a go command and its build cache did not understand each other", "error", err)
			}
		})
	}
}

// admit notes a conversation, which close is to end.
func (d *door) admit(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.conns[conn] = true
	}
	return !d.closed
}

func (d *door) serve(ctx context.Context, conn net.Conn) error {
	defer func() {
		conn.Close()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns, conn)
	}()
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
	d.mu.Lock()
	s := d.sessions[strings.TrimSuffix(string(line), "\n")]
	d.mu.Unlock()
	if s == nil {
		return errors.New("no such session")
	}
	return Serve(ctx, in, conn, s)
}

// leave ends the use of the door by a session. A go command that is still there goes on.
func (c *Cache) leave(id string) {
	c.mu.Lock()
	d := c.door
	c.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, id)
}

func (d *door) close() {
	d.listener.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for conn := range d.conns {
		conn.Close()
	}
	os.RemoveAll(d.dir)
}

// Relay is the program that the go command runs: it connects in and out, those of the process, with the cache that
// Environ named in args.
func Relay(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return k6x.Errorf(k6x.Invalid, "this command is for the go command, which k6x tells how to call it")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", args[0])
	if err != nil {
		return k6x.Errorf(k6x.Unavailable, "the build that this go command belongs to is over").WithCause(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintln(conn, args[1]); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(conn, in) // what goes wrong shows in the other direction
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	_, err = io.Copy(out, conn)
	return err
}
