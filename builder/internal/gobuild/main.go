package gobuild

import (
	"fmt"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"k6x"
)

// Main returns the main package: k6 and the extensions, which are imported for what they
// register. A change of it needs a new layout number.
func Main(recipe k6x.Recipe) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package main\n\nimport (\n\t%q\n", recipe.K6.Path+"/cmd")
	for _, m := range recipe.Extensions {
		fmt.Fprintf(&b, "\t_ %q\n", m.Path)
	}
	b.WriteString(")\n\nfunc main() { cmd.Execute() }\n")
	return b.String()
}

// GoVersion is that of the main module. The go command raises it to what the modules need.
const GoVersion = "1.21"

// GoMod returns the go.mod with the pins.
func GoMod(recipe k6x.Recipe) string {
	var b strings.Builder
	b.WriteString("module k6\n\ngo " + GoVersion + "\n\nrequire (\n")
	for _, m := range Pins(recipe) {
		fmt.Fprintf(&b, "\t%s %s\n", m.Path, m.Version)
	}
	b.WriteString(")\n")
	return b.String()
}

// Files returns the files of the main module by name: with the lock or, if there is none,
// with go.sum lines of earlier builds.
func Files(recipe k6x.Recipe, lock *k6x.Lock, goSum string) (map[string]string, error) {
	files := map[string]string{"main.go": Main(recipe), "go.mod": GoMod(recipe), "go.sum": goSum}
	if lock != nil {
		if err := checkLock(lock); err != nil {
			return nil, err
		}
		files["go.mod"], files["go.sum"] = lock.GoMod, lock.GoSum
	}
	return files, nil
}

// checkLock refuses a lock that says more than versions.
func checkLock(lock *k6x.Lock) error {
	f, err := modfile.Parse("go.mod", []byte(lock.GoMod), nil)
	if err != nil || f.Module == nil || f.Module.Mod.Path != "k6" || len(f.Replace) > 0 || len(f.Exclude) > 0 || len(f.Tool) > 0 {
		return k6x.Errorf(k6x.Internal, "the stored lock of this binary is damaged").WithCause(err)
	}
	return nil
}

// Requires returns the requirements of a go.mod.
func Requires(goMod string) ([]module.Version, error) {
	f, err := modfile.Parse("go.mod", []byte(goMod), nil)
	if err != nil {
		return nil, err
	}
	list := make([]module.Version, len(f.Require))
	for i, r := range f.Require {
		list[i] = r.Mod
	}
	return list, nil
}

// Modules returns k6 and the extensions.
func Modules(recipe k6x.Recipe) []k6x.Module {
	return append([]k6x.Module{recipe.K6}, recipe.Extensions...)
}

// Pins returns the modules as the go command names them.
func Pins(recipe k6x.Recipe) []module.Version {
	var list []module.Version
	for _, m := range Modules(recipe) {
		list = append(list, module.Version{Path: m.Path, Version: m.Version})
	}
	return list
}
