package script

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"k6x"
	"k6x/internal/disk"
)

// script reads the script or archive, and returns the directory from which package.json is looked for.
func (a *analysis) script(ctx context.Context, in Input) (dir string, err error) {
	if in.Path == "-" {
		return a.dir, a.stdin(ctx, in.Stdin)
	}
	path := in.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.dir, path)
	}
	info, err := os.Stat(path)
	if err != nil && strings.Contains(in.Path, "://") {
		id := folder{a}.resolve(filepath.Join(a.dir, "-"), in.Path)
		if isRemote(id) {
			return a.dir, a.remoteScript(ctx, id)
		}
		if id != "" {
			path = id
			info, err = os.Stat(path)
		}
	}
	switch {
	case isMissing(err):
		return "", k6x.Errorf(k6x.NotFound, "the script %s is not there", a.show(path)).
			WithHint("Give the path of a script or of an archive, or - to read it from stdin.").WithCause(err)
	case err != nil:
		return "", k6x.Errorf(k6x.Invalid, "the script %s cannot be read: %v", a.show(path), reason(err)).WithCause(err)
	case info.IsDir():
		return "", k6x.Errorf(k6x.Invalid, "the script %s is a directory", a.show(path)).
			WithHint("Give the path of a script or of an archive.")
	case !info.Mode().IsRegular():
		// A pipe that is read here is empty for k6.
		a.note("%s: it was not looked into: it is not a regular file", a.show(path))
		return filepath.Dir(path), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", k6x.Errorf(k6x.Invalid, "the script %s cannot be read: %v", a.show(path), reason(err)).WithCause(err)
	}
	defer f.Close()
	return filepath.Dir(path), a.main(ctx, path, f, info.Size())
}

// reason returns err without the path, which the message has already.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// stdin reads a script or archive from r, and keeps it for k6.
func (a *analysis) stdin(ctx context.Context, r io.Reader) error {
	if r == nil {
		r = strings.NewReader("")
	}
	data, err := disk.ReadAll(r, a.limits.stdin)
	if e, ok := errors.AsType[*disk.TooLargeError](err); ok {
		return k6x.Errorf(k6x.Invalid, "the script on stdin is larger than %s", humanize.IBytes(uint64(e.Limit))).
			WithHint("Write it to a file and give its path.")
	}
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "the script on stdin cannot be read: %v", err).WithCause(err)
	}
	a.report.Stdin = data
	return a.main(ctx, filepath.Join(a.dir, "-"), bytes.NewReader(data), int64(len(data)))
}

// main reads the script or archive of size bytes that r has.
func (a *analysis) main(ctx context.Context, path string, r io.ReaderAt, size int64) error {
	// As in k6, a file that reads as a tar file is an archive.
	if _, err := tar.NewReader(io.NewSectionReader(r, 0, size)).Next(); err == nil {
		return a.archive(ctx, a.show(path), r, size)
	}
	text, err := disk.ReadAll(io.NewSectionReader(r, 0, size), a.limits.file)
	large, ok := tooLarge(err)
	switch {
	case ok && isRemote(path):
		a.unfetched(module{id: path}, err)
		return nil
	case ok:
		a.note("%s: it was not looked into: %s", a.show(path), large)
		return nil
	}
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "the script %s cannot be read: %v", a.show(path), reason(err)).WithCause(err)
	}
	return a.walk(ctx, folder{a}, module{id: path, text: text})
}

const maxManifest = 1 << 20 // bytes in a package.json

// manifest takes in the dependencies of the nearest package.json at or above dir that names k6 or k6/x/NAME: these, and
// of the other names, which are those of npm, only those that some other source asks for. Whatever else npm and its kin make of such
// a file is no error: what is not understood is noted.
func (a *analysis) manifest(dir string) {
	for {
		path := filepath.Join(dir, "package.json")
		data, err := disk.ReadFile(path, maxManifest)
		if large, ok := tooLarge(err); ok {
			a.note("%s: %s", path, large)
		}
		if err == nil && a.manifestFile(a.show(path), data) {
			return
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return
		}
		dir = parent
	}
}

// manifestFile takes in the dependencies of a package.json. It reports whether it names k6 or k6/x/NAME.
func (a *analysis) manifestFile(where string, data []byte) (decides bool) {
	var manifest struct {
		Dependencies map[string]json.RawMessage `json:"dependencies"`
	}
	if json.Unmarshal(bytes.TrimPrefix(data, []byte(bom)), &manifest) != nil {
		a.note("%s: it is passed over, as its dependencies are no JSON object", where)
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(manifest.Dependencies)) {
		ours := name == k6x.K6 || strings.HasPrefix(name, extension)
		if !ours && !a.named[name] {
			continue
		}
		decides = decides || ours
		var text string
		if json.Unmarshal(manifest.Dependencies[name], &text) != nil {
			a.note("%s: %s is passed over, as its constraint is not a string", where, name)
		} else if err := a.declared(name, text, where); err != nil {
			a.note("%v, and is passed over", err)
		}
	}
	return decides
}

// defaults gives the needs that are left open the constraints of the variable that k6 has for that. It names no others.
func (a *analysis) defaults(in Input) error {
	text, _ := in.Env(envDefaults)
	if text == "" {
		return nil
	}
	var named map[string]string
	if err := json.Unmarshal([]byte(text), &named); err != nil {
		return at(envDefaults, k6x.Errorf(k6x.Invalid, "it cannot be read as JSON: %v", err)).
			WithHint(`Write names and constraints, as in {"k6":"=v1.8.1","k6/x/redis":">=0.3"}.`)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		constraint, err := k6x.ParseConstraint(named[name])
		if err != nil {
			return at(envDefaults+": "+name, err)
		}
		i := slices.IndexFunc(a.report.Needs, func(n Need) bool { return n.Name == name })
		if i < 0 && name == k6x.K6 {
			i, a.report.Needs = 0, slices.Insert(a.report.Needs, 0, Need{Dependency: k6x.Dependency{Name: k6x.K6}})
		}
		if i < 0 || constraint.Any() || !a.report.Needs[i].Constraint.Any() {
			continue
		}
		need := &a.report.Needs[i]
		need.Constraint = constraint
		need.Sources = append(need.Sources, Source{Where: envDefaults, Constraint: constraint})
	}
	return nil
}

// declared takes in a dependency that is written as a pair of strings.
func (a *analysis) declared(name, text, where string) error {
	// The package k6 of npm is a placeholder for editors, which has this version only.
	if name == k6x.K6 && strings.Trim(text, "^~=v ") == "0.0.0" {
		return nil
	}
	dep, err := k6x.NewDependency(name, text)
	if err != nil {
		return at(where, err)
	}
	a.mention(dep, where)
	return nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
