package objects

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"k6x"
	"k6x/internal/disk"
)

// adopt takes over what a store of the original k6build has left in the directory: the bytes in ID/data, their digest in ID/checksum. The files stay,
// so that k6build can use them again; what was taken over before is not read again.
func (s *Store) adopt(ctx context.Context) error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		home := filepath.Join(s.cfg.Dir, entry.Name())
		checksum, err := disk.ReadFile(filepath.Join(home, "checksum"), 1<<10)
		if errors.Is(err, os.ErrNotExist) || !entry.IsDir() {
			continue
		}
		if err == nil {
			err = s.adoptOne(ctx, entry.Name(), filepath.Join(home, "data"), strings.TrimSpace(string(checksum)))
		}
		if err != nil {
			return k6x.Errorf(k6x.KindOf(err), "%s, which k6build has left, cannot be taken over: %w", home, err).
				WithHint("Mend or move it, or choose another directory.")
		}
	}
	return nil
}

func (s *Store) adoptOne(ctx context.Context, id, name, checksum string) error {
	if _, err := s.Get(ctx, id); !errors.Is(err, ErrNotFound) {
		return err
	}
	body, err := os.Open(name)
	if err != nil {
		return err
	}
	defer body.Close()
	digest, _, err := disk.Digest(body)
	if err == nil && digest != checksum {
		err = errors.New("its bytes are not those of its checksum")
	}
	if err == nil {
		_, err = body.Seek(0, 0)
	}
	if err == nil {
		_, err = s.Put(ctx, id, body)
	}
	if err == nil {
		s.cfg.Logger.Info("object of k6build taken over", "id", id)
	}
	return err
}
