package resolver

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	filesystem "k6x/internal/disk"
)

// disk writes files below a directory. Unfinished ones are in a directory of their own.
type disk struct{ temp string }

// newDisk removes what a process that was killed has left unfinished; others may be at
// work in the same directory, so what is recent stays.
func newDisk(dir string) disk {
	d := disk{filepath.Join(dir, "tmp")}
	entries, _ := os.ReadDir(d.temp)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(filepath.Join(d.temp, entry.Name())) // it is no more than in the way
		}
	}
	return d
}

// write makes name hold data durably, all of it or what was there before, and makes
// the directories it needs.
func (d disk) write(name string, data []byte) error {
	if err := errors.Join(os.MkdirAll(d.temp, 0o755), os.MkdirAll(filepath.Dir(name), 0o755)); err != nil {
		return err
	}
	return filesystem.FS{}.Replace(name, filepath.Join(d.temp, rand.Text()), data)
}

func (d disk) writeJSON(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return d.write(name, data)
}
