package cli

import (
	"bufio"
	"io"
	"sync"
	"time"
)

// flushTime is how long a [Buffer] keeps bytes.
const flushTime = time.Second / 2

// Buffer is a writer for lines of a log, so many that a system call for each of them would tell. What is written comes out within half a second,
// or when 64 KiB have come together. Flush has to be called at the end.
type Buffer struct {
	out     io.Writer
	mu      sync.Mutex // guards what follows
	w       *bufio.Writer
	pending *time.Timer // flushes what is there; nil: nothing is
}

// NewBuffer returns a buffer in front of w.
func NewBuffer(w io.Writer) *Buffer { return &Buffer{out: w, w: bufio.NewWriterSize(w, 64<<10)} }

// Write implements [io.Writer]. What cannot be written, as on a full disk, is lost, and does not keep later lines from it.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending == nil {
		b.pending = time.AfterFunc(flushTime, func() { _ = b.Flush() })
	}
	n, err := b.w.Write(p)
	return n, b.recovered(err)
}

// Flush writes what is kept.
func (b *Buffer) Flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending != nil {
		b.pending.Stop()
		b.pending = nil
	}
	return b.recovered(b.w.Flush())
}

func (b *Buffer) recovered(err error) error {
	if err != nil { // which a bufio.Writer would return from now on
		b.w.Reset(b.out)
	}
	return err
}
