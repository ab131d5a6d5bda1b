package binaries

import (
	"os"
	"path/filepath"
)

// Place is what decides where binaries are kept.
type Place struct {
	BinDir   string // as --bin-dir or K6X_BIN_DIR name it; "": not named
	WorkDir  string // the working directory; "": as of this process
	CacheDir string // such as cache.DefaultDir()
}

// Config returns where binaries are kept (contract section 7): in the directory that was named, else
// in .k6x in the working directory if that exists, else below the cache directory.
//
// A .k6x may have come with a project that somebody else wrote, binaries and records and all.
// So those in it are used only if this user's launcher added them: their records
// are sealed with a secret below the cache directory, also if it is named.
func (p Place) Config() Config {
	const folder = ".k6x"
	if p.BinDir != "" && filepath.Clean(p.BinDir) != folder {
		return Config{Dir: p.BinDir}
	}
	local := filepath.Join(p.WorkDir, folder)
	if info, err := os.Stat(local); p.BinDir != "" || err == nil && info.IsDir() {
		return Config{Dir: local, Secret: filepath.Join(p.CacheDir, "secret")}
	}
	return Config{Dir: filepath.Join(p.CacheDir, "bin")}
}
