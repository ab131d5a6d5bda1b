package gobuild

import (
	"time"

	"k6x/event"
)

// Bounds of what is told while a build runs. All of its output is in its error.
const (
	liveLines = 200
	liveBytes = 64 << 10
)

// Live tells what compilers and linkers say, line by line as they say it, as far as strangers may read that. It is nil if nothing is to be told.
type Live struct {
	Sink  event.Sink               // gets events of type Output
	Clean func(line string) string // does [Clean]; "" for a line that is not one of a compiler or linker
	Check func() error             // returns an error if what is said of a package may not be told; it is called when its lines begin. nil: all may be
	All   bool                     // also lines that only the owner of the code may read

	telling, withheld bool
	lines, bytes      int
}

// Line reads a line that was printed.
func (l *Live) Line(line string) {
	if l == nil || l.lines > liveLines {
		return
	}
	text := l.Clean(line + "\n")
	if packageHeader.MatchString(text) {
		l.telling = l.Check == nil || l.Check() == nil
	}
	if !l.telling || text == "" {
		return
	}
	if l.withheld = isWithheld(text, l.withheld); l.withheld && !l.All {
		return
	}
	l.lines++
	if l.bytes += len(text); l.lines > liveLines || l.bytes > liveBytes {
		l.lines, text = liveLines+1, "… there is more, which is told only if the build fails …\n"
	}
	l.Sink.Send(event.Event{Time: time.Now().UTC(), Type: event.Output, Output: text})
}
