package resolver

import (
	"encoding/json"
	"path/filepath"
	"time"

	"k6x/internal/disk"
)

// temporary returns the directory for unfinished files. What a process that was killed has left there is removed; others may be at
// work in it, so what is recent stays.
func temporary(dir string) string {
	dir = filepath.Join(dir, "tmp")
	disk.Sweep(dir, "", time.Hour)
	return dir
}

// keep makes name hold data durably, all of it or what was there before, and makes the directories it needs.
func keep(temp, name string, data []byte) error {
	return disk.FS{}.WriteAtomic(disk.Atomic{Name: name, Temp: temp, Sync: true}, data)
}

func keepJSON(temp, name string, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		err = keep(temp, name, data)
	}
	return err
}
