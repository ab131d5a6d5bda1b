package objects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"k6x"
	"k6x/cache/blob"
	"k6x/internal/disk"
)

const (
	bodyName   = "body"
	recordName = "object.json"
	maxRecord  = 4 << 10 // bytes
)

// home returns what the names of an object begin with. It is named by a hash, so that ids which differ
// in case only, or are names of devices, do no harm on any file system.
func (s *Store) home(id string) string {
	sum := sha256.Sum256([]byte(id))
	hash := hex.EncodeToString(sum[:])
	return "objects/" + hash[:2] + "/" + hash + "/"
}

// Get returns what is known of the object, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Object, error) {
	if err := check(ctx, id); err != nil {
		return Object{}, err
	}
	object, err := s.read(ctx, s.home(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Object{}, ErrNotFound
	}
	return object, fault("the object cannot be read", err)
}

// Open returns the bytes of the object, which the caller closes, or ErrNotFound. They are to be sent under [Store.Verify].
func (s *Store) Open(ctx context.Context, id string) (*os.File, Object, error) {
	object, err := s.Get(ctx, id)
	if err != nil {
		return nil, Object{}, err
	}
	body, opened, err := s.openBody(ctx, object)
	if errors.Is(err, errDamaged) {
		return nil, Object{}, damaged(err)
	}
	object.opened = opened
	return body, object, fault("the object cannot be opened", err)
}

// Verify returns what returns nil once all bytes of an object that is open are known to be right; else the last of them must not be sent. Nil: that is
// known already. What is damaged is moved aside then.
func (s *Store) Verify(object Object) func(ctx context.Context) error {
	home := s.home(object.ID)
	if known, ok := s.verified.Get(home); ok && known == object.opened {
		return nil
	}
	return func(ctx context.Context) error {
		return s.readings.Do(ctx, home, func() error { return s.verify(context.Background(), object) })
	}
}

func damaged(err error) error {
	return k6x.Errorf(k6x.Internal, "the object is damaged").WithCause(err)
}

func (s *Store) openBody(ctx context.Context, object Object) (*os.File, blob.Version, error) {
	body, info, err := s.files.Open(ctx, s.home(object.ID)+bodyName, 0)
	if err != nil {
		return nil, blob.Version{}, err
	}
	if info.Size != object.Size {
		err := fmt.Errorf("%w: %s has %d bytes, its record says %d", errDamaged, info.Name, info.Size, object.Size)
		return nil, blob.Version{}, errors.Join(err, body.Close())
	}
	return body.(*os.File), info.Version(), nil
}

// digest reads a body.
func (s *Store) digest(ctx context.Context, object Object) (digest string, of blob.Version, err error) {
	body, of, err := s.openBody(ctx, object)
	if err != nil {
		return "", of, err
	}
	defer body.Close()
	digest, _, err = disk.Digest(body)
	return digest, of, err
}

// verify reads an object. If it does not have its checksum it is moved aside, so that it can be stored again.
func (s *Store) verify(ctx context.Context, object Object) error {
	digest, of, err := s.digest(ctx, object)
	if err != nil {
		return fault("the object cannot be checked", err)
	}
	home := s.home(object.ID)
	if digest == object.Checksum {
		s.verified.Add(home, of)
		return nil
	}
	err = fmt.Errorf("%w: its bytes have the checksum %s, its record says %s", errDamaged, digest, object.Checksum)
	s.commits.Lock()
	defer s.commits.Unlock()
	if digest, _, again := s.digest(ctx, object); again != nil || digest == object.Checksum || !s.lock.Locked() {
		return damaged(err) // it was stored again, or another process has the store
	}
	if failed := s.setAside(home, err); failed != nil {
		return damaged(errors.Join(err, failed))
	}
	s.used.Add(-object.Size)
	s.count.Add(-1)
	s.sweepAside()
	return damaged(err)
}

// read returns the record below home; fs.ErrNotExist if there is none.
func (s *Store) read(ctx context.Context, home string) (Object, error) {
	data, err := blob.ReadAll(ctx, s.files, home+recordName, maxRecord)
	if err != nil {
		return Object{}, err
	}
	var object Object
	if err := json.Unmarshal(data, &object); err != nil {
		return Object{}, fmt.Errorf("%w: its record: %w", errDamaged, err)
	}
	if CheckID(object.ID) != nil || k6x.CheckKey(object.Checksum) != nil || object.Size < 0 || object.Stored.IsZero() {
		return Object{}, fmt.Errorf("%w: its record says nothing", errDamaged)
	}
	return object, nil
}
