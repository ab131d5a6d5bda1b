package resolver

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
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
	for _, dir := range []string{d.temp, filepath.Dir(name)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	file, err := os.CreateTemp(d.temp, "")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it is renamed
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	return err
}

func (d disk) writeJSON(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return d.write(name, data)
}
