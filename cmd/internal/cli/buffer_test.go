package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// written counts writes.
type written struct {
	mu    sync.Mutex // guards what follows
	text  strings.Builder
	times int
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times++
	return w.text.Write(p)
}

func (w *written) so() (text string, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String(), w.times
}

func TestLinesComeTogetherAndWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w written
		b := NewBuffer(&w)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { fmt.Fprintln(b, "line") })
		}
		all.Wait()
		if _, times := w.so(); times != 0 {
			t.Errorf("%d writes at once", times)
		}
		time.Sleep(time.Second)
		if text, times := w.so(); times != 1 || text != strings.Repeat("line\n", 100) {
			t.Errorf("%d writes of %q", times, text)
		}
		fmt.Fprint(b, strings.Repeat("x", 70<<10))
		if text, _ := w.so(); len(text) < 70<<10 {
			t.Errorf("%d bytes are there", len(text))
		}
		fmt.Fprint(b, "last")
		err := b.Flush()
		if text, _ := w.so(); err != nil || !strings.HasSuffix(text, "last") {
			t.Errorf("%v", err)
		}
	})
}

// full has no room at times.
type full struct {
	bytes.Buffer
	now bool
}

func (f *full) Write(p []byte) (int, error) {
	if f.now {
		return 0, errors.New("full")
	}
	return f.Buffer.Write(p)
}

// A disk that is full for a while costs the lines of that time.
func TestALogThatCannotBeWrittenForAWhile(t *testing.T) {
	disk := &full{now: true}
	b := NewBuffer(disk)
	for range 3 {
		_, _ = b.Write(make([]byte, 40<<10))
		if b.Flush() == nil {
			t.Error("it is told as written")
		}
	}
	disk.now = false
	fmt.Fprintln(b, "later")
	if err := b.Flush(); err != nil || disk.String() != "later\n" {
		t.Errorf("%q, %v", disk.String(), err)
	}
}
