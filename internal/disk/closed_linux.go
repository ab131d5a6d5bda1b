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
// Stop ends the watch, and reports whether any file of the directory was changed, made or moved there since.
func WatchClose(name string) (closed <-chan struct{}, stop func() (changed bool)) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() bool { return false }
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(name), unix.IN_CLOSE_WRITE|unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		events.Close()
		return nil, func() bool { return false }
	}
	first := make(chan struct{})
	told, changed := false, false
	take := func(read func([]byte) (int, error)) error {
		buf := make([]byte, 16*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
		n, err := read(buf)
		for rest := buf[:max(0, n)]; len(rest) >= unix.SizeofInotifyEvent; {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:])) // the length of the name, with zeros
			of, _, _ := bytes.Cut(rest[unix.SizeofInotifyEvent:end], []byte{0})
			switch mask := binary.NativeEndian.Uint32(rest[4:]); {
			case told:
				changed = true // also if events were lost
			case mask&unix.IN_CLOSE_WRITE != 0 && string(of) == filepath.Base(name):
				told = true
				close(first)
			}
			rest = rest[end:]
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
		return changed
	}
}
