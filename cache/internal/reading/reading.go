// Package reading has stored files read through, each by one goroutine however many clients wait for that.
package reading

import (
	"context"
	"runtime"
	"sync"
)

// Group has files read, as many at once as there are processors. The zero value is ready.
type Group struct {
	mu    sync.Mutex // guards what follows
	files map[string]*file
	slots chan struct{}
}

// file is one that is being read, or waits for that.
type file struct {
	done chan struct{} // closed when err is set
	err  error
}

// Do returns what read returns for the file of that name, or the cause of ctx. All that ask for one name at once wait for one reading, which goes on
// if they leave.
func (g *Group) Do(ctx context.Context, name string, read func() error) error {
	g.mu.Lock()
	f := g.files[name]
	if f == nil {
		if g.files == nil {
			g.files, g.slots = make(map[string]*file), make(chan struct{}, runtime.GOMAXPROCS(0))
		}
		f = &file{done: make(chan struct{})}
		g.files[name] = f
		go g.read(name, f, read)
	}
	g.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *Group) read(name string, f *file, read func() error) {
	g.slots <- struct{}{}
	f.err = read()
	<-g.slots
	g.mu.Lock()
	delete(g.files, name)
	g.mu.Unlock()
	close(f.done)
}
