package native

import (
	"os"

	"k6x/internal/gomod"
)

// Env returns the environment in which others may run the go command to ask about
// modules: clean as that of a build, with the same module cache.
func (e *Engine) Env() []string {
	dirs := e.dirs
	dirs.Temp = os.TempDir()
	return e.cfg.Tool.Env(dirs)
}

// Dir returns the directory of the engine.
func (e *Engine) Dir() string { return e.cfg.Dir }

// GoMods returns the go.mod files that the go command has downloaded.
func (e *Engine) GoMods() *gomod.Cache { return e.mods }

// Caches returns the directories of Go's build cache and module cache, which grow
// with each build. They may be trimmed under [Engine.Exclusive].
func (e *Engine) Caches() (builds, modules string) { return e.dirs.Cache, e.dirs.ModCache }
