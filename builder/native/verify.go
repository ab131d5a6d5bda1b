package native

import (
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
)

// inspect reads the binary, which is never run, and the go.mod that was used, and
// returns what they say if that is what the recipe asks for.
func (e *Engine) inspect(ws *workspace) (k6x.Build, error) {
	info, err := buildinfo.ReadFile(ws.output())
	if err != nil {
		return k6x.Build{}, wrongBinary("it says nothing about itself").WithCause(err)
	}
	b := e.newBlame(ws)
	if err := checkProgram(info, ws.recipe); err != nil {
		return k6x.Build{}, err
	}
	if err := b.checkModules(info); err != nil {
		return k6x.Build{}, err
	}
	if !ws.locked { // a lock was checked when it was made
		if err := e.checkPinned(ws, b, info); err != nil {
			return k6x.Build{}, err
		}
	}
	lock, err := ws.lock()
	if err != nil {
		return k6x.Build{}, fileError("reading the lock", err)
	}
	if !ws.locked {
		e.sums.learn(lock.GoSum)
		if lock.GoSum, err = e.needed(ws, lock.GoSum, info); err != nil {
			return k6x.Build{}, fileError("reading the module versions", err)
		}
	}
	build := k6x.Build{Toolchain: info.GoVersion, Lock: lock}
	for _, dep := range info.Deps {
		build.BuildList = append(build.BuildList, k6x.Linked{Path: dep.Path, Version: dep.Version, Sum: dep.Sum})
	}
	return build, nil
}

// checkProgram compares all but the modules.
func checkProgram(info *debug.BuildInfo, recipe k6x.Recipe) error {
	if info.Path != "k6" || info.Main.Path != "k6" {
		return wrongBinary("its main package is %q", info.Path)
	}
	// Experiments stand behind the version; they are part of the recipe's environment.
	if version, _, _ := strings.Cut(info.GoVersion, " "); version != recipe.Toolchain {
		return wrongBinary("it was built with %s instead of %s", info.GoVersion, recipe.Toolchain)
	}
	cgo := "0"
	if recipe.Cgo {
		cgo = "1"
	}
	want := map[string]string{
		"GOOS": recipe.Platform.OS, "GOARCH": recipe.Platform.Arch, "CGO_ENABLED": cgo, "-trimpath": "true", "-buildmode": "exe",
	}
	for _, s := range info.Settings {
		if value, ok := want[s.Key]; ok && value != s.Value {
			return wrongBinary("%s is %q instead of %q", s.Key, s.Value, value)
		}
		delete(want, s.Key)
	}
	for key := range want {
		return wrongBinary("it does not say its %s", key)
	}
	return nil
}

func wrongBinary(format string, args ...any) *k6x.Error {
	return k6x.Errorf(k6x.Internal, "the binary that was built is not what was asked for: %s", fmt.Sprintf(format, args...))
}

// checkModules compares the modules that are linked in with the recipe.
func (b *blame) checkModules(info *debug.BuildInfo) error {
	linked := make(map[string]string, len(info.Deps))
	family := majorless(b.recipe.K6.Path)
	for _, dep := range info.Deps {
		if !b.replaced.holds(dep) {
			return wrongBinary("%s is not replaced as it was asked for", dep.Path)
		}
		if dep.Path != b.recipe.K6.Path && majorless(dep.Path) == family {
			return b.mixed(dep.Path)
		}
		linked[dep.Path] = dep.Version
	}
	for _, pin := range pins(b.recipe) {
		switch chosen, ok := linked[pin.Path]; {
		case !ok:
			return wrongBinary("%s is not in it", pin)
		case chosen != pin.Version && b.replaced == nil: // else that is told
			return b.conflict(pin, chosen)
		}
	}
	return nil
}

// majorless returns a module path without its major version.
func majorless(path string) string {
	prefix, _, ok := module.SplitPathVersion(path)
	if !ok {
		return path
	}
	return prefix
}

// checkPinned makes sure that each module version was named by a go.mod that the pins
// lead to, so that the same recipe means the same versions tomorrow.
func (e *Engine) checkPinned(ws *workspace, b *blame, info *debug.BuildInfo) error {
	used, err := ws.requires()
	if err != nil {
		return fileError("reading the module versions", err)
	}
	for _, dep := range info.Deps {
		used = append(used, module.Version{Path: dep.Path, Version: dep.Version})
	}
	for _, m := range used {
		if !b.graph.has(m) {
			return k6x.Errorf(k6x.BuildFailed, "%s would be linked in, but no go.mod of %s asks for that version", m,
				strings.Join(b.labels(b.graph.pins), ", ")).WithHint("Run go mod tidy in the extensions and release them.")
		}
	}
	return nil
}
