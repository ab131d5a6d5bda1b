package gobuild

import (
	"debug/buildinfo"
	"runtime/debug"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
)

// Inspect reads the binary in file, which is never run, and returns what it says of itself if
// that is what the recipe asks for. Used are the requirements of the go.mod as the go command left it, which are checked, too; nil if there
// was a lock, which was checked when it was made.
func (b *Blame) Inspect(file string, used []module.Version) (*debug.BuildInfo, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, wrongBinary("it says nothing about itself").WithCause(err)
	}
	if err := checkProgram(info, b.recipe); err != nil {
		return nil, err
	}
	if err := b.checkModules(info); err != nil {
		return nil, err
	}
	if used != nil {
		if err := b.checkPinned(info, used); err != nil {
			return nil, err
		}
	}
	return info, nil
}

// Report returns the report of a build whose binary says info.
func Report(info *debug.BuildInfo, lock k6x.Lock) k6x.Build {
	build := k6x.Build{Toolchain: info.GoVersion, Lock: lock}
	for _, dep := range info.Deps {
		build.BuildList = append(build.BuildList, k6x.Linked{Path: dep.Path, Version: dep.Version, Sum: dep.Sum})
	}
	return build
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
	want := map[string]string{
		"GOOS": recipe.Platform.OS, "GOARCH": recipe.Platform.Arch, "CGO_ENABLED": cgoEnabled(recipe), "-trimpath": "true", "-buildmode": "exe",
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

// checkModules compares the modules that are linked in with the recipe.
func (b *Blame) checkModules(info *debug.BuildInfo) error {
	linked := make(map[string]string, len(info.Deps))
	family := majorless(b.recipe.K6.Path)
	for _, dep := range info.Deps {
		if !b.Replaced.holds(dep) {
			return wrongBinary("%s is not replaced as it was asked for", dep.Path)
		}
		if dep.Path != b.recipe.K6.Path && majorless(dep.Path) == family {
			return b.mixed(dep.Path)
		}
		linked[dep.Path] = dep.Version
	}
	for _, pin := range Pins(b.recipe) {
		switch chosen, ok := linked[pin.Path]; {
		case !ok:
			return wrongBinary("%s is not in it", pin)
		case chosen != pin.Version && b.Replaced == nil: // else that is reported
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

// checkPinned makes sure that each module version that is linked in, or is in used, the
// requirements of the go.mod as the go command left it, was named by a go.mod that the pins
// lead to, so that the same recipe means the same versions tomorrow.
func (b *Blame) checkPinned(info *debug.BuildInfo, used []module.Version) error {
	for _, dep := range info.Deps {
		used = append(used, module.Version{Path: dep.Path, Version: dep.Version})
	}
	for _, m := range used {
		if !b.graph.Reaches(m) {
			return k6x.Errorf(k6x.BuildFailed, "%s would be linked in, but no go.mod of %s asks for that version", m,
				strings.Join(b.labels(b.graph.Roots), ", ")).WithHint("Run go mod tidy in the extensions and release them.")
		}
	}
	return nil
}
