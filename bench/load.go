package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is requests, all the same, that some clients send to a server: each client on one
// connection, the next one as soon as the last is answered.
type load struct {
	addr     string
	method   string   // "": GET
	paths    []string // asked for in turn
	headers  []string // Name: value
	clients  int
	requests int           // of all clients together
	status   int           // that every answer must have
	size     int64         // of every body; -1: any
	limit    time.Duration // of all; 0: 10 minutes
}

// outcome is what a load came to.
type outcome struct {
	elapsed time.Duration
	bytes   int64           // of bodies
	took    []time.Duration // from each request to the end of its answer, in order of length
}

// quantile returns how long the given part of the requests took at most.
func (o outcome) quantile(q float64) time.Duration {
	return o.took[min(int(q*float64(len(o.took))), len(o.took)-1)]
}

// run sends the requests. It connects all clients before the clock starts.
func (l load) run(ctx context.Context) (outcome, error) {
	limit := cmp.Or(l.limit, 10*time.Minute)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s does not answer it all within %v", l.addr, limit))
	defer cancel()
	requests := make([][]byte, len(l.paths))
	for i, path := range l.paths {
		requests[i] = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", cmp.Or(l.method, http.MethodGet), path, l.addr,
			strings.Join(append([]string{"User-Agent: bench"}, l.headers...), "\r\n"))
	}
	clients := make([]*client, l.clients)
	for i := range clients {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.addr)
		if err != nil {
			return outcome{}, err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		clients[i] = &client{conn: conn, buffered: bufio.NewReaderSize(conn, 4<<10), buf: make([]byte, 128<<10)}
	}
	var sent, received atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, l.clients)
	began := time.Now()
	for i, c := range clients {
		all.Go(func() {
			for {
				n := int(sent.Add(1))
				if n > l.requests {
					return
				}
				start := time.Now()
				status, size, err := c.get(requests[n%len(requests)], l.method == http.MethodHead)
				if err == nil && (status != l.status || l.size >= 0 && size != l.size) {
					err = fmt.Errorf("%s%s answers %d with %d bytes, not %d with %d", l.addr, l.paths[n%len(requests)], status, size, l.status, l.size)
				}
				if err != nil {
					errs[i] = err
					cancel()
					return
				}
				c.took = append(c.took, time.Since(start))
				received.Add(size)
			}
		})
	}
	all.Wait()
	o := outcome{elapsed: time.Since(began), bytes: received.Load()}
	for _, c := range clients {
		o.took = append(o.took, c.took...)
	}
	slices.Sort(o.took)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return o, context.Cause(ctx)
	}
	return o, errors.Join(errs...)
}

// client is one connection. It does as little as it can, since it shares the machine with
// the server that is measured.
type client struct {
	conn     net.Conn
	buffered *bufio.Reader
	buf      []byte
	took     []time.Duration
}

// get sends a request and passes over the answer. It returns the status and the size of
// the body, whose length has to be announced. A bare answer has only the head.
func (c *client) get(request []byte, bare bool) (status int, size int64, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, 0, err
	}
	lines := textproto.Reader{R: c.buffered}
	first, err := lines.ReadLine()
	if err != nil {
		return 0, 0, err
	}
	if status, err = strconv.Atoi(strings.Split(first+"  ", " ")[1]); err != nil {
		return 0, 0, fmt.Errorf("an answer starts with %q", first)
	}
	for {
		line, err := c.buffered.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if size, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, 0, err
			}
		}
	}
	if bare {
		return status, size, nil
	}
	for left := size; left > 0; {
		n, err := io.ReadAtLeast(c.buffered, c.buf[:min(left, int64(len(c.buf)))], 1)
		if left -= int64(n); err != nil {
			return 0, 0, err
		}
	}
	return status, size, nil
}
