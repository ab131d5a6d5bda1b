package cage

import (
	"bytes"
	"fmt"
)

// Output keeps the first and the last of what is written to it, Max bytes in all. It is not
// for concurrent writers; a command whose Stdout and Stderr are the same Output writes to it
// from one goroutine.
type Output struct {
	Max  int
	Line func(string) // gets each line as it comes, at most 4096 bytes of it; may be nil

	head, tail []byte // each of up to Max/2 bytes, tail of twice that in between
	dropped    int    // bytes between head and tail
	partial    []byte // the line so far
}

const maxLine = 4096

// Write never fails.
func (o *Output) Write(p []byte) (int, error) {
	if o.Line != nil {
		o.lines(p)
	}
	half := o.Max / 2
	n := min(len(p), half-len(o.head))
	o.head = append(o.head, p[:n]...)
	for rest := p[n:]; len(rest) > 0; {
		n := min(len(rest), half)
		o.tail = append(o.tail, rest[:n]...)
		rest = rest[n:]
		if extra := len(o.tail) - half; extra > half {
			o.tail = append(o.tail[:0], o.tail[extra:]...)
			o.dropped += extra
		}
	}
	return len(p), nil
}

func (o *Output) lines(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		o.partial = append(o.partial, piece[:min(len(piece), maxLine-len(o.partial))]...)
		if end < 0 {
			return
		}
		o.Line(string(o.partial))
		o.partial = o.partial[:0]
		p = p[end+1:]
	}
}

// String returns what was kept.
func (o *Output) String() string {
	tail, dropped := o.tail, o.dropped
	if extra := len(tail) - o.Max/2; extra > 0 {
		tail, dropped = tail[extra:], dropped+extra
	}
	if dropped == 0 {
		return string(o.head) + string(tail)
	}
	return fmt.Sprintf("%s\n… %d bytes are left out here …\n%s", o.head, dropped, tail)
}
