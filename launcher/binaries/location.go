package binaries

import (
	"os"
	"path/filepath"
)

// Location decides where binaries are kept.
type Location struct {
	BinDir   string // as --bin-dir or K6X_BIN_DIR name it; "": not named
	WorkDir  string // the working directory; "": as of this process
	CacheDir string // such as cache.DefaultDir()
}

// Config returns where binaries are kept: in the directory that was named, else
// in .k6x in the working directory if that exists, else below the cache directory.
//
// A .k6x may have come with a project of another author, binaries and records and all.
// So those in it are used only if this user's launcher added them: their records
// are sealed with a secret below the cache directory, also if it is named.
func (l Location) Config() Config {
	const folder = ".k6x"
	if l.BinDir != "" && filepath.Clean(l.BinDir) != folder {
		return Config{Dir: l.BinDir}
	}
	local := filepath.Join(l.WorkDir, folder)
	if info, err := os.Stat(local); l.BinDir != "" || err == nil && info.IsDir() {
		return Config{Dir: local, Secret: filepath.Join(l.CacheDir, "secret")}
	}
	return Config{Dir: filepath.Join(l.CacheDir, "bin")}
}
