package buildcache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Entry is what an action has put out.
type Entry struct {
	Output ID
	Size   int64 // bytes
	Time   time.Time
	Path   string // of the file with the body
}

// near is a directory laid out as a GOCACHE: xx/ACTION-a says which output an action has, and
// xx/OUTPUT-d is its body. Files come into being by a rename, so that whoever dies leaves nothing half
// written; several processes may use one directory, go commands among them.
type near struct {
	dir   string
	temp  string
	now   func() time.Time
	still bool                    // what is read does not count as used
	fault func(step string) error // of tests; may be nil
}

const (
	tempAge      = 6 * time.Hour // after which a temporary file has no owner any more
	touchedEvery = time.Hour     // as the go command does it
)

func openNear(dir string) (*near, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	n := &near{dir: dir, temp: filepath.Join(dir, "k6x-temp"), now: time.Now}
	if err := os.MkdirAll(n.temp, 0o755); err != nil {
		return nil, err
	}
	leftovers, err := os.ReadDir(n.temp)
	if err != nil {
		return nil, err
	}
	for _, entry := range leftovers {
		if info, err := entry.Info(); err == nil && n.now().Sub(info.ModTime()) > tempAge {
			_ = os.Remove(filepath.Join(n.temp, entry.Name())) // someone else may be at it
		}
	}
	return n, nil
}

func (n *near) action(id ID) string { return n.file(id, "-a") }
func (n *near) output(id ID) string { return n.file(id, "-d") }

func (n *near) file(id ID, tail string) string {
	name := id.String()
	return filepath.Join(n.dir, name[:2], name+tail)
}

// get returns the entry of an action. It returns an error that is fs.ErrNotExist if there is
// none, or not all of it.
func (n *near) get(action ID) (Entry, error) {
	file, err := os.Open(n.action(action))
	if err != nil {
		return Entry{}, notThere(err)
	}
	defer file.Close()
	line, err := io.ReadAll(io.LimitReader(file, lineSize+1))
	if err != nil {
		return Entry{}, notThere(err)
	}
	e, err := parseLine(action, line)
	if err != nil {
		return Entry{}, notThere(err)
	}
	if !n.has(e.Output, e.Size) {
		return Entry{}, notThere(errors.New("the body is not there"))
	}
	n.touch(file.Name())
	e.Path = n.output(e.Output)
	return e, nil
}

func notThere(err error) error { return fmt.Errorf("%w: %w", fs.ErrNotExist, err) }

// has reports whether the body of an output is there, and notes that it is in use.
func (n *near) has(output ID, size int64) bool {
	info, err := os.Stat(n.output(output))
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false
	}
	if n.now().Sub(info.ModTime()) >= touchedEvery {
		n.touch(n.output(output))
	}
	return true
}

func (n *near) touch(name string) {
	if n.still {
		return
	}
	now := n.now()
	if info, err := os.Stat(name); err == nil && now.Sub(info.ModTime()) >= touchedEvery {
		_ = os.Chtimes(name, now, now) // only for the order in which files are removed
	}
}

// errOther says that a body is not the one that its id names.
var errOther = errors.New("not the bytes that were announced")

// copyBuffers are for bodies on their way into files.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// add writes the body of an output. What has another size or another digest is refused.
func (n *near) add(output ID, size int64, body io.Reader) (err error) {
	temp, err := n.create()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	hash := sha256.New()
	written, err := io.CopyBuffer(io.MultiWriter(temp, hash), io.LimitReader(body, size+1), buf[:])
	if err = errors.Join(err, n.before("write"), temp.Close()); err != nil {
		return err
	}
	if written != size || ID(hash.Sum(nil)) != output {
		return fmt.Errorf("%w: output %v", errOther, output)
	}
	return n.place(temp.Name(), n.output(output), func() bool { return n.verify(output, size) == nil })
}

// bind notes which output an action has.
func (n *near) bind(action, output ID, size int64) error {
	temp, err := n.create()
	if err != nil {
		return err
	}
	_, err = temp.WriteString(formatLine(action, Entry{Output: output, Size: size, Time: n.now()}))
	if err = errors.Join(err, n.before("write"), temp.Close()); err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return n.place(temp.Name(), n.action(action), func() bool {
		e, err := n.get(action)
		return err == nil && e.Output == output
	})
}

func (n *near) create() (*os.File, error) {
	if err := n.before("create"); err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp(n.temp, "")
	if errors.Is(err, fs.ErrNotExist) { // someone emptied the cache
		if err := os.MkdirAll(n.temp, 0o755); err != nil {
			return nil, err
		}
		temp, err = os.CreateTemp(n.temp, "")
	}
	return temp, err
}

// place moves a file to where it belongs. On windows that fails if somebody reads the file that is
// there; it is no failure if that is as good.
func (n *near) place(temp, name string, same func() bool) error {
	err := errors.Join(n.before("rename"), os.Chmod(temp, 0o644))
	if err == nil {
		if err = os.Rename(temp, name); errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(filepath.Dir(name), 0o777); err == nil {
				err = os.Rename(temp, name)
			}
		}
	}
	if err == nil {
		return nil
	}
	_ = os.Remove(temp)
	if same() {
		return nil
	}
	return err
}

func (n *near) before(step string) error {
	if n.fault == nil {
		return nil
	}
	return n.fault(step)
}

// verify reads a body and compares its digest.
func (n *near) verify(output ID, size int64) error {
	file, err := os.Open(n.output(output))
	if err != nil {
		return err
	}
	defer file.Close()
	return sameBytes(output, size, file, io.Discard)
}

// sameBytes copies a body to w and returns an error unless it is that of output.
func sameBytes(output ID, size int64, body io.Reader, w io.Writer) error {
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w, hash), onlyReader{io.LimitReader(body, size+1)}, buf[:])
	if err == nil && (n != size || !bytes.Equal(hash.Sum(nil), output[:])) {
		err = fmt.Errorf("%w: output %v", errOther, output)
	}
	return err
}

// onlyReader hides WriteTo, so that io.CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

// lineSize is the length of the line in the file of an action: "v1 ACTION OUTPUT size time\n", with
// numbers of 20 characters.
const lineSize = 3 + 64 + 1 + 64 + 1 + 20 + 1 + 20 + 1

func formatLine(action ID, e Entry) string {
	return fmt.Sprintf("v1 %v %v %20d %20d\n", action, e.Output, e.Size, e.Time.UnixNano())
}

func parseLine(action ID, line []byte) (Entry, error) {
	bad := errors.New("not the file of an action")
	s := string(line)
	if len(s) != lineSize || s[:3] != "v1 " || s[67] != ' ' || s[132] != ' ' || s[153] != ' ' || s[174] != '\n' {
		return Entry{}, bad
	}
	id, err := ParseID(s[3:67])
	output, err2 := ParseID(s[68:132])
	size, err3 := strconv.ParseInt(strings.TrimLeft(s[133:153], " "), 10, 64)
	nanos, err4 := strconv.ParseInt(strings.TrimLeft(s[154:174], " "), 10, 64)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return Entry{}, err
	}
	if id != action || size < 0 || nanos < 0 {
		return Entry{}, bad
	}
	return Entry{Output: output, Size: size, Time: time.Unix(0, nanos)}, nil
}
