package reading

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Clients that leave hold nothing, and no file is read twice at once, or many are.
func TestReadingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var now, most, all atomic.Int32
		release := make(chan struct{})
		broken := errors.New("broken")
		read := func() error {
			all.Add(1)
			most.Store(max(most.Load(), now.Add(1)))
			<-release
			now.Add(-1)
			return broken
		}
		ctx, leave := context.WithCancel(t.Context())
		const files, clients = 50, 20
		left := make(chan error, files*clients)
		for i := range files * clients {
			go func() { left <- g.Do(ctx, strconv.Itoa(i%files), read) }()
		}
		synctest.Wait()
		before := runtime.NumGoroutine()
		leave()
		for range files * clients {
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if now := runtime.NumGoroutine(); before-now < files*clients {
			t.Errorf("%d goroutines, %d before the clients left", now, before)
		}
		staying := make(chan error)
		go func() { staying <- g.Do(context.Background(), "0", read) }()
		synctest.Wait()
		close(release)
		if err := <-staying; err != broken {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if int(most.Load()) > runtime.GOMAXPROCS(0) || all.Load() != files {
			t.Errorf("%d were read at once, %d in all", most.Load(), all.Load())
		}
		if err := g.Do(t.Context(), "0", func() error { return nil }); err != nil {
			t.Errorf("a later reading: %v", err)
		}
	})
}
