// Package progress shows on a terminal how far things are.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Display shows one thing that goes on at a time, in one line. Nil shows nothing. Its methods may
// be called at once.
type Display struct {
	w io.Writer

	mu     sync.Mutex               // guards what follows
	bar    *progressbar.ProgressBar // of what goes on; nil: nothing does
	what   string                   // that bar is for
	closed bool
}

// New returns a display on w; nil if w is no terminal, or quiet is wanted.
func New(w io.Writer, quiet bool) *Display {
	file, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return On(w)
}

// On returns a display on w, terminal or not.
func On(w io.Writer) *Display { return &Display{w: w} }

// unknown is the total of what nobody knows the total of.
const unknown = -1

// Spin shows that something goes on, and for how long, until something else does.
func (d *Display) Spin(what string) { d.show(what, "spin", 0, unknown) }

// Bytes shows that done bytes of total have come, and how fast. A total of less than one is not
// known.
func (d *Display) Bytes(what string, done, total int64) {
	d.show(what, "bytes", done, max(total, done+1), progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true))
}

// Count shows that done of total things are done. A total of less than one is not known.
func (d *Display) Count(what string, done, total int64) {
	if total < 1 {
		d.show(fmt.Sprintf("%s: %d", what, done), "spin "+what, 0, unknown)
		return
	}
	d.show(what, "count", done, max(total, done+1), progressbar.OptionShowCount())
}

// show brings the bar for what to where it has to be; the bars of one kind go on for each other. To
// end it is up to clear, so that its total is never reached.
func (d *Display) show(what, kind string, done, total int64, options ...progressbar.Option) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	if key := kind + " " + what; d.bar == nil || d.what != key && (total != unknown || d.what != kind) {
		d.clear()
		d.what = key
		if total == unknown && kind != "spin" {
			d.what = kind // its words change
		}
		d.bar = progressbar.NewOptions64(total, append(options,
			progressbar.OptionSetWriter(d.w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(20),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSpinnerType(14), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(true),
			progressbar.OptionSetRenderBlankState(true),
		)...)
	}
	// What cannot be shown need not be.
	if total == unknown {
		d.bar.Describe(what)
		return
	}
	d.bar.ChangeMax64(total)
	_ = d.bar.Set64(done)
}

func (d *Display) clear() {
	if d.bar != nil {
		_ = d.bar.Finish()
		d.bar, d.what = nil, ""
	}
}

// Print writes a line that stays.
func (d *Display) Print(w io.Writer, line string) {
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.clear() // so that nothing is drawn over the line
	}
	fmt.Fprintln(w, line)
}

// Close takes away what is shown and leaves the terminal alone from then on.
func (d *Display) Close() {
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.clear()
		d.closed = true
	}
}
