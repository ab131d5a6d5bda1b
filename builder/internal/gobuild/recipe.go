package gobuild

import (
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/gotool"
)

// Layout is the version of what [Files] makes; it is part of each recipe.
const Layout = 1

// OutputName is the file in the main module's directory that [Arguments] build.
const OutputName = "k6.out"

// flags make the same bytes in whichever directory and at whatever time.
var flags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}

// Settings returns what an engine with that toolchain adds to a request to make a recipe of
// it. Codegen are KEY=VALUE, sorted, for which [gotool.IsCodegen] holds.
func Settings(toolchain string, codegen []string) k6x.Settings {
	return k6x.Settings{Toolchain: toolchain, Flags: slices.Clone(flags), Env: slices.Clone(codegen), Layout: Layout}
}

// Check refuses recipes that would be built otherwise than they say, and keeps what is not a
// module path or version out of the go command's way. Cgo says whether the engine builds
// with it.
func Check(recipe k6x.Recipe, cgo bool) error {
	if recipe.Layout != Layout || !slices.Equal(recipe.Flags, flags) {
		return k6x.Errorf(k6x.Unavailable, "this binary was made by a version of k6x that builds in another way, and its bytes are gone").
			WithHint("Ask for other versions, or ask the operator to keep a service of that version.")
	}
	if !gotool.IsRelease(recipe.Toolchain) {
		return k6x.Errorf(k6x.Invalid, "%q is not a released Go toolchain", recipe.Toolchain)
	}
	for _, kv := range recipe.Env {
		if key, _, ok := strings.Cut(kv, "="); !ok || !gotool.IsCodegen(key) {
			return k6x.Errorf(k6x.Invalid, "%q has no place in a recipe", key)
		}
	}
	if _, err := k6x.ParsePlatform(recipe.Platform.String()); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, m := range Modules(recipe) {
		if err := module.Check(m.Path, m.Version); err != nil {
			return k6x.Errorf(k6x.Invalid, "%s is not a module that can be built in", m).WithCause(err)
		}
		if seen[m.Path] {
			return k6x.Errorf(k6x.Invalid, "%s is in the recipe twice", m.Path)
		}
		seen[m.Path] = true
	}
	if recipe.Cgo && !cgo {
		return k6x.Errorf(k6x.Forbidden, "%s needs cgo, and builds here are made without it", recipe.List()).
			WithHint("Leave out the extension that needs cgo, or build it where a C compiler may run.")
	}
	return nil
}

// Arguments returns those of the go command that builds [OutputName] in the main module's
// directory; locked says that go.mod and go.sum are those of an earlier build. More flags,
// which must not change the bytes, come before the package.
func Arguments(recipe k6x.Recipe, locked bool, more ...string) []string {
	mod := "-mod=mod"
	if locked {
		mod = "-mod=readonly"
	}
	args := append([]string{"build", mod}, recipe.Flags...)
	args = append(args, more...)
	return append(args, "-o", OutputName, ".")
}

// LoadArguments returns those of the go command that loads what [Arguments] builds, and prints nothing.
func LoadArguments(recipe k6x.Recipe, locked bool) []string {
	args := Arguments(recipe, locked)
	return slices.Concat([]string{"list"}, args[1:2], []string{"-deps", "-f", `{{""}}`, "."})
}

// Env returns the variables of the go command that the recipe decides.
func Env(recipe k6x.Recipe) []string {
	return append([]string{
		"GOOS=" + recipe.Platform.OS,
		"GOARCH=" + recipe.Platform.Arch,
		"CGO_ENABLED=" + cgoEnabled(recipe),
		"GOTOOLCHAIN=" + recipe.Toolchain,
	}, recipe.Env...)
}

func cgoEnabled(recipe k6x.Recipe) string {
	if recipe.Cgo {
		return "1"
	}
	return "0"
}
