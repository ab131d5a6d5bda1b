package resolver

import (
	"encoding/json"
	"path/filepath"
	"time"

	"k6x/internal/disk"
)

// files are written below a directory. Unfinished ones are in a directory of their own.
type files struct{ temp string }

// newFiles removes what a process that was killed has left unfinished; others may be at
// work in the same directory, so what is recent stays.
func newFiles(dir string) files {
	f := files{filepath.Join(dir, "tmp")}
	disk.Sweep(f.temp, "", time.Hour)
	return f
}

// write makes name hold data durably, all of it or what was there before, and makes
// the directories it needs.
func (f files) write(name string, data []byte) error {
	return disk.FS{}.WriteAtomic(disk.Atomic{Name: name, Temp: f.temp, Sync: true}, data)
}

func (f files) writeJSON(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return f.write(name, data)
}
