// Package progress shows on a terminal how far things are.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Display shows one thing that goes on at a time. Nil shows nothing. Its methods may be
// called at once.
type Display struct {
	mu   sync.Mutex // guards what follows
	pool *mpb.Progress
	bar  *mpb.Bar // of what goes on; nil: nothing does
	what string   // that bar is for
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
func On(w io.Writer) *Display {
	return &Display{pool: mpb.New(mpb.WithOutput(w), mpb.WithWidth(30), mpb.WithAutoRefresh(), mpb.WithRefreshRate(200*time.Millisecond))}
}

// Spin shows that something goes on, and for how long, until something else does.
func (d *Display) Spin(what string) {
	d.show("spin "+what, func() *mpb.Bar {
		return d.pool.New(0, mpb.SpinnerStyle(), mpb.BarWidth(1), mpb.BarRemoveOnComplete(),
			mpb.AppendDecorators(decor.Name(what+" "), decor.Elapsed(decor.ET_STYLE_GO)))
	}, 0, 0)
}

// Bytes shows that done bytes of total have come, and how fast. A total of less than one is not
// known.
func (d *Display) Bytes(what string, done, total int64) {
	d.show("bytes "+what, func() *mpb.Bar {
		return d.pool.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1024(0), "  % .1f")))
	}, done, max(total, done+1))
}

// Count shows that done of total things are done. A total of less than one is not known.
func (d *Display) Count(what string, done, total int64) {
	if total < 1 {
		d.show("count "+what, func() *mpb.Bar {
			return d.pool.New(0, mpb.SpinnerStyle(), mpb.BarWidth(1), mpb.BarRemoveOnComplete(),
				mpb.AppendDecorators(decor.Name(what+" "), decor.CurrentNoUnit("%d "), decor.Elapsed(decor.ET_STYLE_GO)))
		}, done, done+1)
		return
	}
	d.show("of "+what, func() *mpb.Bar {
		return d.pool.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d of %d "), decor.Elapsed(decor.ET_STYLE_GO)))
	}, done, max(total, done+1))
}

// show brings the bar for what to where it has to be. To end it is up to clear, so that its total
// is never reached.
func (d *Display) show(what string, bar func() *mpb.Bar, done, total int64) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pool == nil {
		return
	}
	if d.bar == nil || d.what != what {
		d.clear()
		d.bar, d.what = bar(), what
	}
	if total > 0 {
		d.bar.SetTotal(total, false)
		d.bar.SetCurrent(done)
	}
}

// Clear takes away what is shown.
func (d *Display) Clear() {
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.clear()
	}
}

func (d *Display) clear() {
	if d.bar != nil {
		d.bar.Abort(true)
		d.bar.Wait()
		d.bar, d.what = nil, ""
	}
}

// Print writes a line that stays, to w if there is no display.
func (d *Display) Print(w io.Writer, line string) {
	if d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.pool != nil {
			d.clear() // so that nothing is drawn over the line
		}
	}
	fmt.Fprintln(w, line)
}

// Close takes away what is shown and leaves the terminal alone from then on.
func (d *Display) Close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pool != nil {
		d.clear()
		d.pool.Shutdown()
		d.pool = nil
	}
}
