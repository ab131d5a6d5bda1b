package cache

import (
	"os"
	"os/user"
	"path/filepath"
	"runtime"

	"github.com/adrg/xdg"
)

// DefaultDir returns the directory to keep caches in, or what is below it: k6x below the user's cache directory, which
// XDG_CACHE_HOME may name. Without HOME, the home directory is that of the account; if that has none, it returns "".
func DefaultDir(below ...string) string {
	dir := xdg.CacheHome
	if runtime.GOOS != "windows" && os.Getenv("HOME") == "" && !filepath.IsAbs(os.Getenv("XDG_CACHE_HOME")) {
		account, err := user.Current()
		if err != nil || !filepath.IsAbs(account.HomeDir) || account.HomeDir == "/" {
			return ""
		}
		dir = filepath.Join(account.HomeDir, dir) // it is that of a home at the root
	}
	return filepath.Join(append([]string{dir, "k6x"}, below...)...)
}
