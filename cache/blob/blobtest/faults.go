package blobtest

import (
	"context"
	"io"
	"sync"

	"k6x/cache/blob"
)

// Call is one call of a method of a bucket: open, stat, put, copy, delete, list or sign.
type Call struct {
	Method string
	Name   string // of the blob, or the prefix of a list
}

// Faults breaks a bucket on purpose, and records what it is asked for.
type Faults struct {
	blob.Bucket // with faults

	mu     sync.Mutex // guards what follows
	before func(Call) error
	after  func(Call) error
	cut    func(name string, at int64) bool
	calls  []Call
}

var _ blob.Bucket = (*Faults)(nil)

// NewFaults returns a bucket that has no faults yet.
func NewFaults(b blob.Bucket) *Faults {
	f := new(Faults)
	f.Bucket = blob.Around(b, func(ctx context.Context, method, name string, exchange func() error) error {
		return f.do(ctx, Call{method, name}, exchange)
	})
	return f
}

// Before makes a call fail with the error that f returns, instead of doing anything. nil: none does.
func (f *Faults) Before(fail func(Call) error) { f.set(func() { f.before = fail }) }

// After makes the answer to a call get lost: it is done, and fails with the error that f returns. nil: none does.
func (f *Faults) After(fail func(Call) error) { f.set(func() { f.after = fail }) }

// Cut makes reading of a blob end with an error where f reports true of the offset. nil: none does.
func (f *Faults) Cut(cut func(name string, at int64) bool) { f.set(func() { f.cut = cut }) }

// Calls returns what the bucket was asked for since the last call of Calls.
func (f *Faults) Calls() (calls []Call) {
	f.set(func() { calls, f.calls = f.calls, nil })
	return calls
}

func (f *Faults) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// do does a call.
func (f *Faults) do(ctx context.Context, c Call, work func() error) error {
	f.mu.Lock()
	f.calls = append(f.calls, c)
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(c); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := work()
	if err == nil && after != nil {
		err = after(c)
	}
	return err
}

// Open implements [blob.Bucket].
func (f *Faults) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	body, info, err := f.Bucket.Open(ctx, name, offset)
	if err != nil {
		return nil, blob.Info{}, err
	}
	return &cutBody{body, f, name, offset}, info, nil
}

// cutBody ends where the faults say so.
type cutBody struct {
	io.ReadCloser
	faults *Faults
	name   string
	at     int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	b.faults.mu.Lock()
	cut := b.faults.cut
	b.faults.mu.Unlock()
	if cut != nil && cut(b.name, b.at) {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), 4096)])
	b.at += int64(n)
	return n, err
}
