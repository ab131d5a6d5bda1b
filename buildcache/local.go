package buildcache

import (
	"context"
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

	"k6x/internal/disk"
)

// Entry is the output of an action.
type Entry struct {
	Output ID
	Size   int64 // bytes
	Time   time.Time
	Path   string // of the file with the body
}

// local is a directory laid out as a GOCACHE: xx/ACTION-a says which output an action has, and
// xx/OUTPUT-d is its body. A file comes to its name by a rename, so that a process that dies leaves nothing half
// written; several processes may use one directory, go commands among them.
type local struct {
	dir   string
	temp  string
	now   func() time.Time
	still bool // reading does not count as a use
	disk  disk.FS
}

const (
	tempAge      = 6 * time.Hour // after which the process that wrote a temporary file is gone
	touchedEvery = time.Hour     // as the go command does it
)

func openLocal(dir string) (*local, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &local{dir: dir, temp: filepath.Join(dir, "k6x-temp"), now: time.Now}
	disk.Sweep(l.temp, "", tempAge)
	return l, os.MkdirAll(l.temp, 0o755)
}

// Names of the files of an action and of an output, with a slash.
func actionName(id ID) string { return id.String()[:2] + "/" + id.String() + "-a" }
func outputName(id ID) string { return id.String()[:2] + "/" + id.String() + "-d" }

func (l *local) action(id ID) string { return filepath.Join(l.dir, filepath.FromSlash(actionName(id))) }
func (l *local) output(id ID) string { return filepath.Join(l.dir, filepath.FromSlash(outputName(id))) }

// get returns the entry of an action. It returns an error that is fs.ErrNotExist if there is
// none, or not all of it.
func (l *local) get(action ID) (e Entry, err error) {
	name := l.action(action)
	line, err := disk.ReadFile(name, lineSize)
	if err == nil {
		e, err = parseLine(action, string(line))
	}
	if err == nil && !l.has(e.Output, e.Size) {
		err = errors.New("the body is not there")
	}
	if err != nil {
		return Entry{}, notThere(err)
	}
	if info, err := os.Stat(name); err == nil {
		l.touch(name, info)
	}
	e.Path = l.output(e.Output)
	return e, nil
}

func notThere(err error) error { return fmt.Errorf("%w: %w", fs.ErrNotExist, err) }

// has reports whether the body of an output is there, and notes that it is in use.
func (l *local) has(output ID, size int64) bool {
	name := l.output(output)
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false
	}
	l.touch(name, info)
	return true
}

func (l *local) touch(name string, info fs.FileInfo) {
	if now := l.now(); !l.still && now.Sub(info.ModTime()) >= touchedEvery {
		_ = os.Chtimes(name, now, now) // only for the order in which files are removed
	}
}

// Errors of a body.
var (
	errOther = errors.New("not the bytes that were announced")
	errLocal = errors.New("the build cache cannot be written") // the directory is to blame, not the remote level
)

// add writes the body of an output. Another size or another digest is an errOther.
func (l *local) add(output ID, size int64, body io.Reader) error {
	return l.write(l.output(output), func(w io.Writer) error { return sameBytes(output, size, body, w) },
		func() bool { return l.verify(output, size) == nil })
}

// receive is add of a body from elsewhere. An error is an errLocal unless body or its source is to blame.
func (l *local) receive(output ID, size int64, body *source) error {
	err := l.add(output, size, body)
	if err != nil && body.err == nil && !errors.Is(err, errOther) {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return err
}

// bind notes which output an action has.
func (l *local) bind(action, output ID, size int64) error {
	line := formatLine(action, Entry{Output: output, Size: size, Time: l.now()})
	return l.write(l.action(action), func(w io.Writer) error {
		_, err := io.WriteString(w, line)
		return err
	}, func() bool {
		e, err := l.get(action)
		return err == nil && e.Output == output
	})
}

// write brings a file to its name as a whole. On Windows that fails while another process reads the file that is
// there; it is no failure if that is as good.
func (l *local) write(name string, fill func(io.Writer) error, same func() bool) error {
	file, err := l.disk.Begin(disk.Atomic{Name: name, Temp: l.temp, DirMode: 0o777})
	if err != nil {
		return err
	}
	defer file.Discard()
	if err := fill(file.File); err != nil {
		return err
	}
	if err := file.Commit(); err != nil && !same() {
		return err
	}
	return nil
}

// verify reads a body and compares its digest.
func (l *local) verify(output ID, size int64) error {
	file, err := os.Open(l.output(output))
	if err != nil {
		return err
	}
	defer file.Close()
	return sameBytes(output, size, file, io.Discard)
}

// copyBuffers are for bodies on their way into files.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// sameBytes copies a body to w and returns an error unless it is that of output.
func sameBytes(output ID, size int64, body io.Reader, w io.Writer) error {
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w, hash), io.LimitReader(body, size+1), buf[:])
	if err == nil && (n != size || ID(hash.Sum(nil)) != output) {
		err = fmt.Errorf("%w: output %v", errOther, output)
	}
	return err
}

// each calls visit for each action whose body is there, until one returns an error.
func (l *local) each(ctx context.Context, visit func(action ID, e Entry) error) error {
	for i := range 256 {
		entries, err := os.ReadDir(filepath.Join(l.dir, fmt.Sprintf("%02x", i)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			name, ok := strings.CutSuffix(entry.Name(), "-a")
			action, err := ParseID(name)
			if !ok || err != nil {
				continue
			}
			if e, err := l.get(action); err == nil {
				if err := visit(action, e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// lineSize is the length of the line in the file of an action: "v1 ACTION OUTPUT size time\n", with
// numbers of 20 characters.
const lineSize = 3 + 64 + 1 + 64 + 1 + 20 + 1 + 20 + 1

func formatLine(action ID, e Entry) string {
	return fmt.Sprintf("v1 %v %v %20d %20d\n", action, e.Output, e.Size, e.Time.UnixNano())
}

// parseLine reads what formatLine writes.
func parseLine(action ID, line string) (e Entry, err error) {
	fields := strings.Fields(line)
	if len(line) != lineSize || len(fields) != 5 {
		return e, errors.New("not the file of an action")
	}
	var err2, err3 error
	var nanos int64
	e.Output, err = ParseID(fields[2])
	e.Size, err2 = strconv.ParseInt(fields[3], 10, 64)
	nanos, err3 = strconv.ParseInt(fields[4], 10, 64)
	e.Time = time.Unix(0, nanos)
	if err := errors.Join(err, err2, err3); err != nil || e.Size < 0 || nanos < 0 || formatLine(action, e) != line {
		return Entry{}, errors.Join(errors.New("not the file of an action"), err)
	}
	return e, nil
}
