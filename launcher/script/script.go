// Package script finds the dependencies of a k6 command: extensions, and the versions of them
// and of k6. It reads the test script with the local modules that it imports, or the archive that
// "k6 archive" made of them, and takes in the environment, package.json and flags.
//
//	script.js ─► scan (pragmas) ────────┐
//	    │                               ├─► merge ─► Report ─► k6x.List
//	    └─► esbuild (imports) ─► modules┘      ▲
//	K6_DEPENDENCIES, --with, -o, k6 x NAME, package.json
//
// Nothing of a script is executed. Modules of https URLs are fetched, as k6 will do. A mistake that k6 itself explains better, such as a
// syntax error, is no error here but a note: k6 may just be run.
//
//	script.go    Analyze                 input.go      from a command line to files    walk.go    from file to file
//	scan.go      pragmas                 imports.go    what esbuild lists              merge.go   what all of them say of a name
//	disk.go, archive.go, remote.go: files of modules, each in its place                manifest.go  package.json, defaults
//	dependency.go  variables, flags and pragmas as dependencies
package script

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"k6x"
)

// Input is a k6 command line, as far as it names dependencies. The zero value has none.
type Input struct {
	Path       string                      // the script or archive as given; "-" is Stdin, "" is none
	Stdin      io.Reader                   // read only if Path is "-", and then to its end
	Dir        string                      // where relative paths start; "" is the working directory
	Env        func(string) (string, bool) // looks up environment variables; nil has none
	HTTP       *http.Client                // fetches modules of URLs; nil: they are not read
	Outputs    []string                    // the values of -o and --out, NAME or NAME=ARGUMENT
	With       []string                    // the values of --with, "NAME" or "NAME CONSTRAINT"
	Replaced   []string                    // the names that --replace has
	Subcommand string                      // the NAME of "k6 x NAME", or ""
}

// Report is the dependencies of a command, and what was not read.
type Report struct {
	Needs   []Need   // k6 first, the others by name; none if any k6 will do
	Modules []string // the Go modules that the user named, sorted; no others are among the needs
	Unread  []string // modules of URLs that were not read, why, and what to do, one line each
	Notes   []string // files that were not understood or not read, and why, one line each
	Stdin   []byte   // the bytes read from Input.Stdin, to be given to k6; nil if nothing was read
}

// Need is a dependency, with the places that name it.
type Need struct {
	k6x.Dependency
	Sources  []Source // the first that names it, and all that have a constraint
	Optional bool     // it is loaded by require() or import() in code only, which a script may do without
}

// Source is a place that names a dependency.
type Source struct {
	Where      string         // "script.js:3", "K6_DEPENDENCIES", "/p/package.json", "--with" and so on
	Constraint k6x.Constraint // the one given there
}

// List returns the needs as a dependency list; nil if there are none.
func (r Report) List() (k6x.List, error) {
	if len(r.Needs) == 0 {
		return nil, nil
	}
	deps := make([]k6x.Dependency, len(r.Needs))
	for i, need := range r.Needs {
		deps[i] = need.Dependency
	}
	return k6x.NewList(deps...)
}

// Optional returns the names of the needs that the script may do without.
func (r Report) Optional() []string {
	var names []string
	for _, need := range r.Needs {
		if need.Optional {
			names = append(names, need.Name)
		}
	}
	return names
}

// InputError is a mistake on the command line or in a variable, not in a file.
type InputError struct{ error }

func (e *InputError) Unwrap() error { return e.error }

// Analyze returns the dependencies of the command. An error is of kind [k6x.Invalid] if something is
// malformed or two sources give different constraints, of kind [k6x.NotFound] if the script or a
// module that it imports is not there, of kind [k6x.Forbidden] if a Go module is asked for that the
// user did not name; its message says where. It is an [InputError] if no file is to blame.
func Analyze(ctx context.Context, in Input) (Report, error) {
	return analyze(ctx, in, defaults)
}

func analyze(ctx context.Context, in Input, bounds limits) (Report, error) {
	dir, err := filepath.Abs(in.Dir)
	if err != nil {
		return Report{}, fmt.Errorf("find the working directory: %w", err)
	}
	if in.Env == nil {
		in.Env = func(string) (string, bool) { return "", false }
	}
	a := &analysis{dir: dir, limits: bounds, http: in.HTTP, named: make(map[string]bool), byUser: make(map[string]bool)}
	manifestDir := dir
	if in.Path != "" {
		if manifestDir, err = a.script(ctx, in); err != nil {
			return Report{}, err
		}
	}
	if err := a.flags(in); err != nil {
		return Report{}, &InputError{err}
	}
	a.manifest(manifestDir)
	if a.report.Modules, err = a.goModules(); err != nil {
		return Report{}, err
	}
	if a.report.Needs, err = merge(a.mentions); err != nil {
		return Report{}, err
	}
	if err := a.defaults(in); err != nil {
		return Report{}, &InputError{err}
	}
	if _, err := a.report.List(); err != nil {
		return Report{}, err
	}
	return a.report, nil
}

// flags takes in the command line and the environment.
func (a *analysis) flags(in Input) error {
	if text, ok := in.Env(envDependencies); ok {
		deps, err := parseEnv(text)
		if err != nil {
			return at(envDependencies, err)
		}
		for _, dep := range deps {
			a.userMention(dep, envDependencies)
		}
	}
	for _, text := range in.With {
		dep, err := parseDependency(text)
		if err != nil {
			return at("--with", err)
		}
		a.userMention(dep, "--with")
	}
	for _, name := range in.Replaced {
		a.byUser[name] = true
	}
	for _, out := range outputs(in) {
		if err := k6x.CheckName(out.name); err != nil {
			return at(out.where, err)
		}
		a.mention(k6x.Dependency{Name: out.name}, out.where)
	}
	if in.Subcommand != "" {
		name := "subcommand:" + in.Subcommand
		if err := k6x.CheckName(name); err != nil {
			return at("k6 x", err)
		}
		a.mention(k6x.Dependency{Name: name}, "k6 x "+in.Subcommand)
	}
	return nil
}
