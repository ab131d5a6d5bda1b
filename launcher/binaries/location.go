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
// are sealed with a secret below the cache directory.
func (p Place) Config() Config {
	if p.BinDir != "" {
		return Config{Dir: p.BinDir}
	}
	local := filepath.Join(p.WorkDir, ".k6x")
	if info, err := os.Stat(local); err == nil && info.IsDir() {
		return Config{Dir: local, Secret: filepath.Join(p.CacheDir, "secret")}
	}
	return Config{Dir: filepath.Join(p.CacheDir, "bin")}
}
