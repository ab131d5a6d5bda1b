package buildcache

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Handler answers the requests of a go command to its build cache.
type Handler interface {
	// Get returns the entry of an action; any error is a miss.
	Get(ctx context.Context, action ID) (Entry, error)
	// Put keeps the body of an action. It need not read all of it if it fails.
	Put(ctx context.Context, action, output ID, size int64, body io.Reader) (Entry, error)
}

// Bounds on what a go command may send.
const (
	maxRequest  = 64 << 10 // bytes of a request without its body
	maxInFlight = 64       // gets that are answered at a time; more wait
)

// request and response are the messages of the protocol, one JSON object a line, as
// cmd/go/internal/cacheprog documents it. The body of a put is a line of its own, base64 in quotes.
type request struct {
	ID       int64
	Command  string
	ActionID []byte
	OutputID []byte
	BodySize int64
}

type response struct {
	ID            int64
	Err           string     `json:",omitempty"`
	KnownCommands []string   `json:",omitempty"`
	Miss          bool       `json:",omitempty"`
	OutputID      []byte     `json:",omitempty"`
	Size          int64      `json:",omitempty"`
	Time          *time.Time `json:",omitempty"`
	DiskPath      string     `json:",omitempty"`
}

// Serve answers a go command on in and out until it says close, or in ends, or something comes that
// is not the protocol, which is an error. Bodies are not kept in memory. When ctx ends, gets are misses; to
// end Serve, end in.
func Serve(ctx context.Context, in io.Reader, out io.Writer, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &conversation{in: bufio.NewReaderSize(in, maxRequest), out: out, handler: h, slots: make(chan struct{}, maxInFlight)}
	c.answer(response{KnownCommands: []string{"get", "put", "close"}})
	closing, err := c.run(ctx)
	if closing != nil || err != nil {
		cancel()
	}
	c.gets.Wait()
	if closing != nil {
		c.answer(response{ID: closing.ID})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(err, c.broken)
}

type conversation struct {
	in      *bufio.Reader
	handler Handler
	gets    sync.WaitGroup
	slots   chan struct{}

	mu     sync.Mutex // guards the fields below
	out    io.Writer
	broken error // of out
}

// run answers requests until one closes the conversation, which it returns; nil: the go command was stopped.
func (c *conversation) run(ctx context.Context) (closing *request, err error) {
	for {
		req, err := c.read()
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading from the go command: %w", err)
		}
		switch req.Command {
		case "get":
			c.slots <- struct{}{}
			c.gets.Go(func() {
				defer func() { <-c.slots }()
				c.get(ctx, req)
			})
		case "put":
			if err := c.put(ctx, req); err != nil {
				return nil, fmt.Errorf("reading from the go command: %w", err)
			}
		case "close":
			return req, nil
		default:
			c.answer(response{ID: req.ID, Err: "unknown command"})
		}
	}
}

// read returns the next request, io.EOF if there is none.
func (c *conversation) read() (*request, error) {
	for {
		line, err := c.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("a request of more than %d bytes", maxRequest)
		}
		if err == io.EOF && len(line) > 0 {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if len(line) == 1 { // there is one after each request
			continue
		}
		req := new(request)
		if err := json.Unmarshal(line, req); err != nil {
			return nil, err
		}
		return req, nil
	}
}

func (c *conversation) get(ctx context.Context, req *request) {
	action, err := idOf(req.ActionID)
	if err != nil {
		c.answer(response{ID: req.ID, Err: err.Error()})
		return
	}
	e, err := c.handler.Get(ctx, action)
	if err != nil {
		c.answer(response{ID: req.ID, Miss: true})
		return
	}
	c.answer(response{ID: req.ID, OutputID: e.Output[:], Size: e.Size, Time: &e.Time, DiskPath: e.Path})
}

// put reads the body to its end whatever becomes of it, as the next request comes after it. Its
// error ends the conversation.
func (c *conversation) put(ctx context.Context, req *request) error {
	if req.BodySize < 0 {
		return fmt.Errorf("a body of %d bytes", req.BodySize)
	}
	body, err := c.body(req.BodySize)
	if err != nil {
		return err
	}
	e, err := c.keep(ctx, req, body)
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	if body.read != req.BodySize {
		return fmt.Errorf("a body of %d bytes that should have %d", body.read, req.BodySize)
	}
	if req.BodySize > 0 {
		if end, err := c.in.ReadByte(); end != '"' {
			return errors.Join(fmt.Errorf("a body that does not end after %d bytes", req.BodySize), err)
		}
	}
	if err != nil {
		c.answer(response{ID: req.ID, Err: err.Error()})
		return nil
	}
	c.answer(response{ID: req.ID, DiskPath: e.Path})
	return nil
}

func (c *conversation) keep(ctx context.Context, req *request, body io.Reader) (Entry, error) {
	action, err := idOf(req.ActionID)
	if err != nil {
		return Entry{}, err
	}
	output, err := idOf(req.OutputID)
	if err != nil {
		return Entry{}, err
	}
	return c.handler.Put(ctx, action, output, req.BodySize, body)
}

// answer sends a response. When that fails, the go command is gone, and in will end too.
func (c *conversation) answer(r response) {
	line, err := json.Marshal(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.broken == nil {
		_, err = c.out.Write(append(line, '\n'))
	}
	if err != nil && c.broken == nil {
		c.broken = fmt.Errorf("answering the go command: %w", err)
	}
}

// body returns a reader of the body that comes next, which leaves the quote behind it.
func (c *conversation) body(size int64) (*source, error) {
	if size == 0 {
		return &source{r: strings.NewReader("")}, nil
	}
	for {
		switch b, err := c.in.ReadByte(); {
		case err == io.EOF: // which is not to be taken for the end of a conversation
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case b == '"':
			return &source{r: base64.NewDecoder(base64.StdEncoding, io.LimitReader(c.in, (size+2)/3*4))}, nil
		case b != '\n':
			return nil, fmt.Errorf("%q where a body begins", b)
		}
	}
}
