// Package objects keeps blobs under ids that their owners choose, in a directory of one
// process:
//
//	objects/<hash[:2]>/<hash>/body         the bytes; hash is the hex SHA-256 of the id
//	objects/<hash[:2]>/<hash>/object.json  the [Object]
//	damaged/<hash>-<random>/               what was found damaged at a start or when it was sent, and uploads that broke off: the last of them
//	tmp/                                   what is on its way in
//	lock                                   held while the store is open
//	<id>/data, <id>/checksum               left by the original k6build, see adopt.go
//
// The bytes come to their place before the record, which is the moment at which the object comes to be: it is there
// as a whole or not at all, whenever the process is killed. It is never replaced and never removed, unless it is damaged:
// each body is compared with its record once per process, beside its first sending.
package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/dir"
	"k6x/cache/internal/reading"
	"k6x/internal/disk"
)

const ofStore = "the store" // for errors of its disk

// Errors of a [Store], for errors.Is.
var (
	// ErrNotFound: there is no object of that id.
	ErrNotFound = errors.New("object not found")
	// ErrDuplicate: there is an object of that id already, and it stays.
	ErrDuplicate = errors.New("duplicate object")
	// ErrTooLarge: the object is larger than one may be.
	ErrTooLarge = errors.New("object too large")
)

// Config says where a store is and how large it may become.
type Config struct {
	Dir       string           // made if it does not exist
	MaxObject int64            // bytes of one object; 0: 1 GiB
	Size      int64            // bytes of all objects, those on their way in included; 0: no limit
	Logger    *slog.Logger     // nil: discard
	Clock     func() time.Time // nil: time.Now
}

// Object is what is known of one blob.
type Object struct {
	ID       string    `json:"id"`
	Checksum string    `json:"checksum"` // hex SHA-256 of the bytes
	Size     int64     `json:"size"`     // bytes
	Stored   time.Time `json:"stored"`   // UTC, whole seconds

	opened blob.Version // of the bytes, if they are open
}

// Store keeps objects. All methods may be called at once. An id that is not one
// ([CheckID]) is an error of kind [k6x.Invalid].
type Store struct {
	cfg   Config
	files *dir.Bucket
	lock  *flock.Flock

	commits sync.Mutex   // held while an object comes to its place, or goes from it
	used    atomic.Int64 // bytes of all objects, those on their way in included
	count   atomic.Int64 // objects

	verified *lru.Cache[string, blob.Version] // by home: the body that was last found to have the checksum of its record
	readings reading.Group                    // of bodies, by home
}

const keptVerified = 1 << 16 // of more bodies than that, those that were sent longest ago are read again

var idSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// CheckID returns an error unless id can name an object. The error is of kind [k6x.Invalid].
func CheckID(id string) error {
	if !idSyntax.MatchString(id) {
		return k6x.Errorf(k6x.Invalid, "%q is not an id of an object", id[:min(len(id), 80)]).
			WithHint("An id has 1 to 128 letters, digits, dots, dashes and underscores, and starts with a letter or digit.")
	}
	return nil
}

// Open opens the store in a directory, removes what a killed process left there, and takes
// stock. A directory that another process has open is an error of kind [k6x.Conflict].
func Open(cfg Config) (*Store, error) { return open(cfg, disk.FS{}) }

func open(cfg Config, fs disk.FS) (*Store, error) {
	fs.Of = ofStore
	if cfg.Dir == "" || cfg.MaxObject < 0 || cfg.Size < 0 {
		return nil, errors.New("a store of objects needs a directory and limits that are not negative")
	}
	if cfg.MaxObject == 0 {
		cfg.MaxObject = 1 << 30
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	root, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = root
	tmp := filepath.Join(root, "tmp")
	s := &Store{cfg: cfg, files: dir.In(root, tmp, fs), lock: flock.New(filepath.Join(root, "lock"))}
	s.verified, _ = lru.New[string, blob.Version](keptVerified) // fails for a size below 1 only
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, fault("the directory of the store cannot be made", err)
	}
	switch ours, err := s.lock.TryLock(); {
	case err != nil:
		return nil, fault("the directory of the store cannot be locked", err)
	case !ours:
		return nil, k6x.Errorf(k6x.Conflict, "the store in %s is in use by another process", cfg.Dir).
			WithHint("Choose another directory, or stop the other process.")
	}
	err = s.takeStock()
	if err == nil {
		err = s.sweep(tmp)
	}
	if err == nil {
		err = s.adopt(context.Background())
	}
	if err != nil {
		return nil, errors.Join(fault("the store cannot be read", err), s.Close())
	}
	return s, nil
}

// Close lets another process open the directory. Bodies that are open stay readable; what
// is on its way in fails.
func (s *Store) Close() error {
	s.commits.Lock()
	defer s.commits.Unlock()
	return s.lock.Close()
}

// MaxObject returns how many bytes one object may have.
func (s *Store) MaxObject() int64 { return s.cfg.MaxObject }

// Stats counts objects and their bytes, those on their way in included.
func (s *Store) Stats() (objects, bytes int64) { return s.count.Load(), s.used.Load() }

// sweep removes what is below tmp: no other process has the store open.
func (s *Store) sweep(tmp string) error {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(tmp, entry.Name())); err != nil {
			return err
		}
		s.cfg.Logger.Info("leftover of an upload removed", "name", entry.Name())
	}
	return nil
}

// errDamaged: what was read of an object is not what was written.
var errDamaged = errors.New("damaged object")

// takeStock adds up what is there. What is damaged is moved aside, as it would keep its id from being stored again. What cannot be read, as
// after a restore by another user, is an error, and then nothing is changed.
func (s *Store) takeStock() error {
	ctx := context.Background()
	homes := map[string]bool{}
	for info, err := range s.files.List(ctx, "objects/") {
		if err != nil {
			return s.unreadable(err)
		}
		home, _ := path.Split(info.Name)
		if hash := path.Base(home); k6x.CheckKey(hash) != nil || home != "objects/"+hash[:2]+"/"+hash+"/" {
			continue // of another program
		}
		homes[home] = true
	}
	damaged := map[string]error{} // by home
	for home := range homes {
		object, err := s.read(ctx, home)
		if err == nil && s.home(object.ID) != home {
			err = fmt.Errorf("%w: it is the object %s", errDamaged, object.ID)
		}
		var body *os.File
		if err == nil {
			body, _, err = s.openBody(ctx, object)
		}
		switch {
		case err == nil:
			body.Close()
			s.used.Add(object.Size)
			s.count.Add(1)
		case errors.Is(err, errDamaged), errors.Is(err, os.ErrNotExist): // as a killed process leaves it
			damaged[home] = err
		default:
			return s.unreadable(err)
		}
	}
	for home, cause := range damaged {
		if err := s.setAside(home, cause); err != nil {
			return s.unreadable(err)
		}
	}
	s.sweepAside()
	return nil
}

func (s *Store) unreadable(err error) error {
	return k6x.Errorf(k6x.Invalid, "the store in %s cannot be read: %v", s.cfg.Dir, err).
		WithHint("Nothing was removed. Give the user of this program the right to read and write all that is in there, as after a restore, and start it again.")
}

// remove removes what there is of an object, the record first.
func (s *Store) remove(home string) error {
	err := s.files.Delete(context.Background(), home+recordName)
	return errors.Join(err, s.files.Delete(context.Background(), home+bodyName))
}

// check returns an error unless a method can begin with an id.
func check(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return CheckID(id)
}

// fault gives an error that has no words for the user yet such words.
func fault(message string, err error) error {
	if err == nil {
		return nil
	}
	err = disk.FS{Of: ofStore}.Explain(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if e, ok := errors.AsType[*k6x.Error](err); ok {
		return e
	}
	return k6x.Errorf(k6x.Internal, "%s", message).WithCause(err)
}
