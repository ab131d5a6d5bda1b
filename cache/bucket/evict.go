package bucket

import (
	"context"

	"k6x/cache/internal/ledger"
	"k6x/internal/disk"
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
			return NoRoom()
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

// roomy runs a step that writes, and if the disk is full removes the binary that was used longest ago and runs the step again, once. Under is
// [Store.exclusive], or locked where that is held.
func (s *Store) roomy(ctx context.Context, under func(func() error) error, step func() error) error {
	err := step()
	if s.own == nil || !disk.IsFull(err) {
		return err
	}
	if under(func() error { return s.evictOldest(ctx, err) }) != nil {
		return err
	}
	return step()
}

// evictOldest removes the binary that was used longest ago, for a disk that is full as an error says, which it returns if there is none. It is
// called under exclusive.
func (s *Store) evictOldest(ctx context.Context, full error) error {
	s.own.mu.Lock()
	oldest := s.own.ledger.Oldest()
	s.own.mu.Unlock()
	if oldest == "" {
		return full
	}
	s.logger.Warn("the disk is full; the binary that was used longest ago is removed", "key", oldest, "error", cause(full))
	return s.evict(context.WithoutCancel(ctx), oldest)
}

// MakeRoom implements [cache.Limited].
func (s *Store) MakeRoom(ctx context.Context, full error) bool {
	return s.own != nil && s.exclusive(func() error { return s.evictOldest(ctx, full) }) == nil
}

func locked(change func() error) error { return change() }

// usedElsewhere reports whether another process used what the plan would evict, after
// having entered the time of that use.
func (s *Store) usedElsewhere(ctx context.Context, plan ledger.Plan) bool {
	used := false
	for _, key := range plan.Evict {
		record, err := s.bucket.Stat(ctx, s.record(key))
		if err != nil {
			continue
		}
		s.own.mu.Lock()
		if item, ok := s.own.ledger.Get(key); ok && record.ModTime.After(item.Used) {
			s.own.ledger.Use(key, record.ModTime)
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
	s.touch(ctx, key, item.Used)
	s.own.unlink(key)
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
	if remove, err = s.own.place.Discard(ctx, s.home(key)); err == nil {
		s.own.unlink(key)
		s.drop(key)
		s.own.forgotten++
	}
	return remove, err
}
