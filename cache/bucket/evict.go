package bucket

import (
	"context"

	"k6x/cache/internal/ledger"
	"k6x/cache/internal/record"
)

// makeRoom removes what has to go before an artifact of the given sizes can be stored
// under key. If that cannot be had, it returns an error of kind NoSpace. It is called
// under exclusive.
func (s *Store) makeRoom(ctx context.Context, key string, recordSize, binarySize int64) error {
	ctx = context.WithoutCancel(ctx) // what is removed is removed as a whole
	var stuck []func()
	defer func() {
		for _, release := range stuck {
			release()
		}
	}()
	for {
		s.own.mu.Lock()
		plan, ok := s.own.ledger.Plan(key, recordSize, binarySize)
		s.own.mu.Unlock()
		if !ok {
			return record.NoRoom()
		}
		if plan.Empty() {
			return nil
		}
		if s.usedElsewhere(ctx, plan) {
			continue
		}
		steps := func(keys []string, step func(context.Context, string) error) {
			for _, key := range keys {
				if err := step(ctx, key); err != nil {
					// On Windows a file that another process has open cannot be moved.
					s.logger.Warn("artifact cannot be removed to make room", "key", key, "error", err)
					stuck = append(stuck, s.hold(key))
				}
			}
		}
		steps(plan.Evict, s.evict)
		steps(plan.Forget, s.forget)
	}
}

// usedElsewhere reports whether another process used what the plan would evict, after
// having entered the time of that use.
func (s *Store) usedElsewhere(ctx context.Context, plan ledger.Plan) bool {
	used := false
	for _, key := range plan.Evict {
		binary, err := s.bucket.Stat(ctx, s.binary(key, ""))
		if err != nil {
			continue
		}
		s.own.mu.Lock()
		if item, ok := s.own.ledger.Get(key); ok && binary.ModTime.After(item.Used) {
			s.own.ledger.Use(key, binary.ModTime)
			used = true
		}
		s.own.mu.Unlock()
	}
	return used
}

// evict removes the binary of key. If it is in use since the plan was made, nothing happens.
func (s *Store) evict(ctx context.Context, key string) error {
	remove := func() {}
	defer func() { remove() }() // without mu
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	item, ok := s.own.ledger.Get(key)
	if !ok || s.own.ledger.Held(key) {
		return nil
	}
	var err error
	if remove, err = s.own.place.Discard(ctx, s.binary(key, "")); err != nil {
		return err
	}
	if err := s.own.place.Touch(ctx, s.record(key), item.Used); err != nil {
		s.logger.Debug("time of use cannot be kept", "key", key, "error", err)
	}
	item.Binary = 0
	s.own.ledger.Set(key, item)
	s.own.evictions++
	return nil
}

// forget removes all of key: its record, and the binding of the path that it was first
// built for. Other bindings to it read as not found from then on.
func (s *Store) forget(ctx context.Context, key string) error {
	first, readErr := s.readRecord(ctx, key)
	remove, err := s.forgetAll(ctx, key)
	if err != nil || remove == nil {
		return err
	}
	s.own.place.Note(key, false)
	remove()
	if readErr != nil {
		return nil
	}
	if bound, err := s.readBinding(ctx, first.Path); err == nil && bound == key {
		s.tidy(ctx, s.binding(first.Path))
	}
	return nil
}

// forgetAll takes away what there is for key, unless that is in use: then remove is nil.
func (s *Store) forgetAll(ctx context.Context, key string) (remove func(), err error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if s.own.ledger.Held(key) {
		return nil, nil
	}
	if remove, err = s.own.place.Discard(ctx, home(key)); err == nil {
		s.drop(key)
		s.own.forgotten++
	}
	return remove, err
}
