package main

import (
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows on a terminal how far things are. Nil shows nothing.
type progress struct{ pool *mpb.Progress }

// newProgress returns nil if w is no terminal, or quiet is wanted.
func newProgress(w io.Writer, quiet bool) *progress {
	file, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return progressOn(w)
}

func progressOn(w io.Writer) *progress {
	return &progress{mpb.New(mpb.WithOutput(w), mpb.WithWidth(30), mpb.WithAutoRefresh(), mpb.WithRefreshRate(200*time.Millisecond))}
}

// close takes what is shown away.
func (p *progress) close() {
	if p != nil {
		p.pool.Shutdown()
	}
}

// spin shows that something goes on, and for how long, until stop is called.
func (p *progress) spin(what string) (stop func()) {
	if p == nil {
		return func() {}
	}
	bar := p.pool.New(0, mpb.SpinnerStyle(), mpb.BarWidth(1), mpb.BarRemoveOnComplete(),
		mpb.AppendDecorators(decor.Name(what+" "), decor.Elapsed(decor.ET_STYLE_GO)))
	return func() {
		bar.Abort(true)
		bar.Wait()
	}
}

// bar shows how many bytes have come of how many, and how fast. Nil shows nothing.
type bar struct{ bar *mpb.Bar }

func (p *progress) bytes(what string) *bar {
	if p == nil {
		return nil
	}
	return &bar{p.pool.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(what+" ")),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1024(0), "  % .1f")))}
}

// set says that done bytes of total have come; a total of less than one is not known.
func (b *bar) set(done, total int64) {
	if b != nil {
		b.bar.SetTotal(max(total, done+1), false) // complete is up to stop
		b.bar.SetCurrent(done)
	}
}

func (b *bar) stop() {
	if b != nil {
		b.bar.Abort(true)
		b.bar.Wait()
	}
}
