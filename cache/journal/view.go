package journal

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"k6x"
)

// View is what a reader makes of a journal, whose entries it is given once each and in order. All methods may be called at once.
type View struct {
	journal *Journal
	take    func(entries []Entry)

	mu   sync.Mutex // held while entries are read, taken and appended; guards what follows
	read int64      // number of the last entry that was taken
}

// NewView returns a view, which knows of nothing before [View.CatchUp].
func NewView(j *Journal, take func(entries []Entry)) *View { return &View{journal: j, take: take} }

// CatchUp has the view take what is new.
func (v *View) CatchUp(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.catchUp(ctx)
}

// Reach has the view take what is new, unless it has the entry of that number.
func (v *View) Reach(ctx context.Context, number int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.read >= number {
		return nil
	}
	return v.catchUp(ctx)
}

func (v *View) catchUp(ctx context.Context) error {
	for {
		entries, err := v.journal.Read(ctx, v.read, perSegment)
		if gone, ok := errors.AsType[*GoneError](err); ok {
			v.read = gone.First - 1
			continue
		}
		if err != nil || len(entries) == 0 {
			return err
		}
		v.take(entries)
		v.read = entries[len(entries)-1].Number
	}
}

// Append appends what data returns, and has the view take it; nothing if that is nil. When data is called, the view has all that comes before the
// entry. It returns whether it appended.
func (v *View) Append(ctx context.Context, data func() any) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for range maxTries {
		if err := v.catchUp(ctx); err != nil {
			return false, err
		}
		d := data()
		if d == nil {
			return false, nil
		}
		switch _, err := v.journal.AppendBehind(ctx, v.read, d); {
		case err == nil:
			return true, v.catchUp(ctx)
		case !errors.Is(err, fs.ErrExist):
			return false, err
		}
	}
	return false, k6x.Errorf(k6x.Unavailable, "too many services write to the journal at once")
}

// Run has the view follow the journal until ctx ends.
func (v *View) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := v.CatchUp(ctx); err != nil && ctx.Err() == nil {
			v.journal.cfg.Logger.Warn("the journal cannot be read; it is tried again", "error", err)
			select {
			case <-time.After(10 * time.Second):
			case <-ctx.Done():
			}
			continue
		}
		v.mu.Lock()
		read := v.read
		v.mu.Unlock()
		_ = v.journal.Wait(ctx, read) // its error is that of ctx
	}
}
