package buildcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"

	"k6x/internal/disk"
)

// MaxNote bounds a note, in bytes.
const MaxNote = 16 << 20

// noteID is the action whose output is the note of a name: no go command has such an action. So a note travels in packs and indexes as what was
// compiled does, and who knows nothing of notes never asks for it.
func noteID(name string) ID { return sha256.Sum256([]byte("k6x note " + name)) }

// Load returns the note of a name that was written last of those that the remote level has. Any error is a miss.
func (s *Session) Load(ctx context.Context, name string) ([]byte, error) {
	if s.scope == nil {
		return nil, errAbsent
	}
	if err := s.awaitIndexes(ctx); err != nil {
		return nil, err
	}
	output, at, ok := s.scope.note(name)
	if !ok {
		return nil, errAbsent
	}
	if err := s.bring(ctx, output, at, s.c.cfg.Timeout); err != nil {
		return nil, err
	}
	file := s.c.local.output(output)
	data, err := disk.ReadFile(file, MaxNote)
	if err == nil && sha256.Sum256(data) != output {
		_ = os.Remove(file) // to be fetched anew
		return nil, errOther
	}
	return data, err
}

// note returns where the note of a name is, unless it is lost or too large.
func (s *scope) note(name string) (output ID, at place, ok bool) {
	output, _, _ = s.find(noteID(name))
	at, ok = s.place(output)
	return output, at, ok && at.size <= MaxNote
}

// Update writes the note of a name as change makes it of the one that is there, or of nil; nothing if change returns an error, or if the session
// only reads. It is sent when the session is closed. Of two that are written at the same time one is lost.
func (s *Session) Update(ctx context.Context, name string, change func(old []byte) ([]byte, error)) error {
	if s.sent == nil {
		return nil
	}
	refreshed := make(chan struct{}) // the session may be old
	if !s.c.begin(func() {
		s.c.refresh(s.scope)
		close(refreshed)
	}) {
		return nil
	}
	if err := wait(ctx, refreshed, s.c.cfg.Timeout); err != nil {
		return err
	}
	old, err := s.Load(ctx, name)
	if _, _, there := s.scope.note(name); there && err != nil {
		return err
	}
	data, err := change(old)
	if err != nil || bytes.Equal(data, old) {
		return err
	}
	output := ID(sha256.Sum256(data))
	if err := s.c.local.add(output, int64(len(data)), bytes.NewReader(data)); err != nil {
		return err
	}
	s.send(bound{noteID(name), output})
	return nil
}

// Fetch brings outputs here, each named by its SHA-256 in hex digits, as far as the remote level has them.
func (s *Session) Fetch(ctx context.Context, outputs []string) error {
	if s.scope == nil {
		return errAbsent
	}
	if err := s.awaitIndexes(ctx); err != nil {
		return err
	}
	var packs []*pack
	found := make(map[ID]place)
	seen := make(map[*pack]bool)
	for _, text := range outputs {
		output, err := ParseID(text)
		if err != nil {
			return err
		}
		if at, ok := s.scope.place(output); ok {
			found[output] = at
			if !seen[at.pack] {
				seen[at.pack] = true
				packs = append(packs, at.pack)
			}
		}
	}
	err := s.fetchAll(ctx, packs)
	for output, at := range found {
		if s.c.local.has(output, at.size) {
			s.c.count(func(n *Stats) { n.RemoteHits++ })
			s.use(output)
		}
	}
	return err
}

// place returns where an output is, unless it is lost.
func (s *scope) place(output ID) (place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.outputs[output]
	return at, ok && !at.pack.lost
}
