// Package reading has stored files read through, each by one goroutine however many clients wait for that.
package reading

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Group has files read, as many at once as there are processors. The zero value is ready.
type Group struct {
	readings singleflight.Group // by name
	ready    sync.Once          // makes slots
	slots    chan struct{}
}

// Do returns what read returns for the file of that name, or the cause of ctx. All that ask for one name at once wait for one reading, which goes on
// if they leave.
func (g *Group) Do(ctx context.Context, name string, read func() error) error {
	g.ready.Do(func() { g.slots = make(chan struct{}, runtime.GOMAXPROCS(0)) })
	done := g.readings.DoChan(name, func() (any, error) {
		g.slots <- struct{}{}
		defer func() { <-g.slots }()
		return nil, read()
	})
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
