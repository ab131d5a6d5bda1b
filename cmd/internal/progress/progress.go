// Package progress shows the progress of an operation on a terminal.
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

// Display shows one operation at a time, in one line. Nil shows nothing. Its methods may
// be called at once.
type Display struct {
	w io.Writer

	mu     sync.Mutex               // guards the fields below
	bar    *progressbar.ProgressBar // of the operation; nil: there is none
	key    string                   // kind and label of bar
	closed bool
}

// New returns a display on w; nil if w is no terminal, or with quiet.
func New(w io.Writer, quiet bool) *Display {
	file, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return On(w)
}

// On returns a display on w, terminal or not.
func On(w io.Writer) *Display { return &Display{w: w} }

// unknown is the total of an operation that has none.
const unknown = -1

// Spin shows an operation, and for how long it goes on, until another one is shown.
func (d *Display) Spin(label string) { d.show(label, "spin", 0, unknown) }

// Bytes shows that done bytes of total have come, and how fast. A total of less than one is not
// known.
func (d *Display) Bytes(label string, done, total int64) {
	d.show(label, "bytes", done, max(total, done+1), progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true))
}

// Count shows that done of total steps are done. A total of less than one is not known.
func (d *Display) Count(label string, done, total int64) {
	if total < 1 {
		d.show(fmt.Sprintf("%s: %d", label, done), "spin "+label, 0, unknown)
		return
	}
	d.show(label, "count", done, max(total, done+1), progressbar.OptionShowCount())
}

// show moves the bar of an operation, and replaces that of another one; spinners of one kind only change their label. Only
// clear ends a bar, so that its total is never reached.
func (d *Display) show(label, kind string, done, total int64, options ...progressbar.Option) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	if key := kind + " " + label; d.bar == nil || d.key != key && (total != unknown || d.key != kind) {
		d.clear()
		d.key = key
		if total == unknown && kind != "spin" {
			d.key = kind // its label changes
		}
		d.bar = progressbar.NewOptions64(total, append(options,
			progressbar.OptionSetWriter(d.w), progressbar.OptionSetDescription(label), progressbar.OptionSetWidth(20),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSpinnerType(14), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(true),
			progressbar.OptionSetRenderBlankState(true),
		)...)
	}
	// Errors of the terminal are ignored.
	if total == unknown {
		d.bar.Describe(label)
		return
	}
	d.bar.ChangeMax64(total)
	_ = d.bar.Set64(done)
}

func (d *Display) clear() {
	if d.bar != nil {
		_ = d.bar.Finish()
		d.bar, d.key = nil, ""
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

// Close removes the line and leaves the terminal alone from then on.
func (d *Display) Close() {
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.clear()
		d.closed = true
	}
}
