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

// Open returns the bytes of the object, which the caller closes, or ErrNotFound.
func (s *Store) Open(ctx context.Context, id string) (*os.File, Object, error) {
	object, err := s.Get(ctx, id)
	if err != nil {
		return nil, Object{}, err
	}
	body, err := s.openBody(ctx, object)
	if errors.Is(err, errDamaged) {
		return nil, Object{}, k6x.Errorf(k6x.Internal, "the object is damaged").WithCause(err)
	}
	return body, object, fault("the object cannot be opened", err)
}

func (s *Store) openBody(ctx context.Context, object Object) (*os.File, error) {
	body, info, err := s.files.Open(ctx, s.home(object.ID)+bodyName, 0)
	if err != nil {
		return nil, err
	}
	if info.Size != object.Size {
		return nil, errors.Join(fmt.Errorf("%w: %s has %d bytes, its record says %d", errDamaged, info.Name, info.Size, object.Size), body.Close())
	}
	return body.(*os.File), nil
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
