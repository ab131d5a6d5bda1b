package bucket

import (
	"bytes"
	"context"

	"k6x/cache/blob"
	"k6x/cache/blob/mem"
)

// Memory returns an empty store in memory, for a service without a disk. An entry that is open keeps its bytes.
func Memory(cfg Config) *Store {
	s, err := NewIn(context.Background(), &memory{mem.Bucket{NoMD5: true}}, cfg)
	if err != nil {
		panic(err) // there is nothing to read that could fail
	}
	return s
}

// memory is a [Place] of this process alone.
type memory struct{ mem.Bucket }

var _ Place = (*memory)(nil)

func (m *memory) Lock() (func(), error) { return func() {}, nil }

func (m *memory) Draft() (Draft, error) { return &memoryDraft{to: m}, nil }

func (m *memory) Changed(context.Context) (prefixes, keys []string, seen func(), err error) {
	return nil, nil, func() {}, nil
}

func (m *memory) Note(string, bool) {}

func (m *memory) Discard(ctx context.Context, name string) (func(), error) {
	for info, err := range m.List(ctx, name+"/") {
		if err == nil {
			err = m.Delete(ctx, info.Name)
		}
		if err != nil {
			return func() {}, err
		}
	}
	return func() {}, m.Delete(ctx, name)
}

// memoryDraft is a [Draft] in memory.
type memoryDraft struct {
	buffer bytes.Buffer
	to     *memory
}

func (d *memoryDraft) Write(p []byte) (int, error) { return d.buffer.Write(p) }

func (d *memoryDraft) Sync() error { return nil }

func (d *memoryDraft) Open() (blob.Bytes, error) {
	return memoryBytes{bytes.NewReader(d.buffer.Bytes())}, nil
}

func (d *memoryDraft) Commit(ctx context.Context, name string) error {
	return blob.PutBytes(ctx, d.to, name, d.buffer.Bytes(), blob.PutOptions{})
}

func (d *memoryDraft) Close() error { return nil }

type memoryBytes struct{ *bytes.Reader }

func (memoryBytes) Close() error { return nil }
