// Package binaries keeps the k6 executables of a launcher in a directory, which several
// launchers may use at once.
//
//	k6-<id>/k6[.exe]      the executable; id is a hash of its platform and versions
//	k6-<id>/k6x.json      its record; the modification time is that of its last use
//	k6-<id>/lock          held, shared, by launchers that are about to run it
//	k6-<id>/fails         there if it did not start
//	.work/lock            held while an entry comes to its place or leaves it
//	.work/keys/<nn>       held by the one launcher that makes the binary of an id
//	.work/tmp/<id>/       where it makes it
//
// An entry is made below .work/tmp and comes to its place by one rename, so that it is there as a
// whole or not at all. Names that are not of this form are left alone: they may belong to another program.
//
//	binaries.go  Dir, its locks      record.go  records and seals     find.go   which directory, the binary for a list
//	add.go       a new binary        limit.go   size limit, prune     use.go    checks before a binary is run
package binaries

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"k6x"
	"k6x/internal/disk"
)

// Config says where binaries are kept and how large that may become.
type Config struct {
	Dir    string           // made when something is added
	Size   int64            // bytes of all binaries, above which those unused for longest go; 0: no limit
	Secret string           // file with a secret of this user, made if missing, that records are sealed with; "": records are not sealed
	Logger *slog.Logger     // nil: discard
	Clock  func() time.Time // nil: time.Now

	// Waiting, if not nil, is called when another launcher is making the same binary.
	Waiting func()
}

// Dir is a directory of binaries. Its methods may be called at once.
type Dir struct{ cfg Config }

const (
	recordName = "k6x.json"
	lockName   = "lock"
	failsName  = "fails"

	canMoveOpen = runtime.GOOS != "windows" // a directory with open files in it can be renamed
)

var (
	// ErrGone: the binary was removed since it was found.
	ErrGone = errors.New("the binary is gone")
	// ErrDamaged: the binary differs from the one that was added.
	ErrDamaged = errors.New("the binary is damaged")
)

// New returns a Dir. It touches no file.
func New(cfg Config) (*Dir, error) {
	if cfg.Dir == "" || cfg.Size < 0 {
		return nil, errors.New("binaries need a directory and a limit that is not negative")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Dir{cfg}, nil
}

// Binary is one executable that is kept.
type Binary struct {
	Meta
	Digest string    // hex SHA-256 of the bytes
	Size   int64     // bytes
	Path   string    // of the executable
	Used   time.Time // when it was last used
	Fails  bool      // it did not start: another one is used for the same, if there is one

	id      string
	modTime int64 // of the executable when it was added, in nanoseconds since 1970
}

// NoteFailure keeps in mind that a binary does not start.
func (d *Dir) NoteFailure(b Binary) error {
	return fault(os.WriteFile(filepath.Join(d.home(b.id), failsName), nil, 0o644))
}

// Path returns the directory.
func (d *Dir) Path() string { return d.cfg.Dir }

func (d *Dir) home(id string) string { return filepath.Join(d.cfg.Dir, "k6-"+id) }
func (d *Dir) work(elements ...string) string {
	return filepath.Join(append([]string{d.cfg.Dir, ".work"}, elements...)...)
}

var homeSyntax = regexp.MustCompile(`^k6-([0-9a-f]{32})$`)

// idOf returns the id of a binary, which its platform and versions decide.
func idOf(m Meta) string {
	sum := sha256.Sum256([]byte(m.List().Path(m.Platform)))
	return hex.EncodeToString(sum[:16])
}

// exclusive runs change while no other launcher changes the directory.
func (d *Dir) exclusive(ctx context.Context, change func() error) error {
	lock, err := d.lock(ctx, d.work("lock"), nil)
	if err != nil {
		return err
	}
	defer lock.Close()
	return change()
}

// prepare makes the directories to work in. A link in their place, which may have come with a
// project as the rest of the directory, could lead anywhere, and files are removed below them.
func (d *Dir) prepare() error {
	if err := os.MkdirAll(d.cfg.Dir, 0o755); err != nil {
		return fault(err)
	}
	for _, name := range []string{d.work(), d.work("keys"), d.work("tmp")} {
		err := os.Mkdir(name, 0o755)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fault(err)
		}
		if info, err := os.Lstat(name); err != nil || !info.IsDir() {
			return k6x.Errorf(k6x.Internal, "%s is no directory", name).WithHint("Remove it.").WithCause(err)
		}
	}
	return nil
}

// lock takes an exclusive lock on a file of ours, which is made if it is missing.
func (d *Dir) lock(ctx context.Context, name string, waiting func()) (*flock.Flock, error) {
	if err := d.prepare(); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() { // a pipe would never open
		return nil, k6x.Errorf(k6x.Internal, "%s is no regular file", name).WithHint("Remove it.")
	}
	lock, err := disk.TryLock(name, false, flock.SetPermissions(0o644))
	if err == nil && lock == nil {
		if waiting != nil {
			waiting()
		}
		lock, err = disk.Lock(ctx, name, false, flock.SetPermissions(0o644))
	}
	if err != nil && ctx.Err() != nil {
		err = k6x.CanceledBy(ctx)
	}
	return lock, fault(err)
}

// discard removes an entry. Unless it is forced, one that a launcher is about to run stays. It reports whether the entry is
// gone, and is called under exclusive.
func (d *Dir) discard(id string, force bool) (gone bool, err error) {
	home := d.home(id)
	if _, err := os.Lstat(home); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if !force {
		users, err := disk.TryLock(filepath.Join(home, lockName), false, flock.SetFlag(os.O_RDWR))
		if err == nil && users == nil {
			return false, nil
		}
		if users != nil && canMoveOpen { // else a launcher that opens the lock now keeps the directory here
			defer users.Close()
		} else if users != nil {
			_ = users.Close()
		}
	}
	aside := d.work("tmp", "gone-"+id)
	if err := os.RemoveAll(aside); err != nil {
		return false, fault(err)
	}
	if err := os.Rename(home, aside); err != nil {
		return false, fault(err)
	}
	if err := os.RemoveAll(aside); err != nil {
		d.cfg.Logger.Warn("leftover cannot be removed", "name", aside, "error", err)
	}
	return true, nil
}

// fault returns an error of the disk in words for the user.
func fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*k6x.Error](err); ok {
		return err
	}
	if disk.IsFull(err) {
		return k6x.Errorf(k6x.NoSpace, "there is no room to keep a binary").WithCause(err).
			WithHint("Free some room on the disk, or choose another directory with --bin-dir or --cache-dir.")
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return k6x.Errorf(k6x.Internal, "the directory of binaries cannot be written: %w", err).
			WithHint("Choose another directory with --bin-dir.")
	}
	return k6x.Errorf(k6x.Internal, "the directory of binaries: %w", err)
}
