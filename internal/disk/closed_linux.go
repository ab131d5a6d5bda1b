package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// WatchClose watches a file that another process is about to write. Closed is closed once that has closed it, if the system tells (inotify(7)).
// Stop ends the watch, and reports whether the file was closed more than once.
func WatchClose(name string) (closed <-chan struct{}, stop func() (again bool)) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() bool { return false }
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(name), unix.IN_CLOSE_WRITE); err != nil {
		events.Close()
		return nil, func() bool { return false }
	}
	first := make(chan struct{})
	times := 0
	take := func(read func([]byte) (int, error)) error {
		buf := make([]byte, 16*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
		n, err := read(buf)
		before := times
		times += closings(buf[:max(0, n)], filepath.Base(name))
		if before == 0 && times > 0 {
			close(first)
		}
		return err
	}
	var looking sync.WaitGroup
	looking.Go(func() {
		for take(events.Read) == nil {
		}
	})
	return first, func() bool {
		_ = events.SetReadDeadline(time.Now())
		looking.Wait()
		for take(func(p []byte) (int, error) { return unix.Read(fd, p) }) == nil { // what came since
		}
		events.Close()
		return times > 1
	}
}

// closings returns how many of the events are of a file of that name.
func closings(events []byte, name string) (n int) {
	for len(events) >= unix.SizeofInotifyEvent {
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if got, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0}); string(got) == name {
			n++
		}
		events = events[end:]
	}
	return n
}
