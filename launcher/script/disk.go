package script

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"k6x/internal/disk"
)

// tooLarge says that a file is larger than the bytes that are left for it, if that is what err says.
func tooLarge(err error) (text string, ok bool) {
	e, ok := errors.AsType[*disk.TooLargeError](err)
	if !ok {
		return "", false
	}
	return fmt.Sprintf("it is larger than the %s that are left for it", humanize.IBytes(uint64(max(0, e.Limit)))), true
}

// folder has modules in the file system; their ids are absolute paths, or URLs of those that are not there. Links are not resolved: as in
// k6, the imports of a module are relative to the path that it is imported by.
type folder struct{ a *analysis }

func (d folder) read(id string, limit int64) ([]byte, error) { return disk.ReadFile(id, limit) }

func (d folder) show(id string) string { return d.a.show(id) }

// show returns path relative to the working directory if it is below that, else as it is; a URL without its secrets.
func (a *analysis) show(path string) string {
	if isRemote(path) {
		return showURL(path)
	}
	if a.report.Stdin != nil && path == filepath.Join(a.dir, "-") {
		return "stdin"
	}
	rel, err := filepath.Rel(a.dir, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return path
	}
	return rel
}

func (d folder) resolve(importer, specifier string) string {
	path, kind := classify(specifier)
	if filepath.IsAbs(specifier) {
		path, kind = specifier, relative
	}
	switch {
	case kind == fetched:
		return specifier
	case kind == foreign:
		return ""
	case kind == rooted || strings.HasPrefix(path, "/"):
		return fromSlash(path, importer)
	case filepath.IsAbs(path):
		return filepath.Clean(path)
	}
	return filepath.Join(filepath.Dir(importer), filepath.FromSlash(path))
}

// fromSlash returns the file of a path of a URL. On Windows that has a volume of its own, or is on the
// volume of the importer.
func fromSlash(path, importer string) string {
	native := filepath.FromSlash(path)
	if trimmed := strings.TrimPrefix(native, string(filepath.Separator)); filepath.IsAbs(trimmed) {
		return filepath.Clean(trimmed)
	}
	return filepath.Join(filepath.VolumeName(importer), native)
}

type specifierKind int

const (
	foreign  specifierKind = iota // left to k6
	fetched                       // https://…
	rooted                        // a path of a file: URL
	relative                      // a path
)

// classify returns the kind that k6 takes a specifier for, if it names no part of k6; path is unescaped.
func classify(specifier string) (path string, kind specifierKind) {
	switch {
	case specifier == "", strings.HasSuffix(specifier, ".json"):
		return "", foreign
	case specifier[0] == '.', specifier[0] == '/':
		path, kind = specifier, relative
	case strings.HasPrefix(specifier, "https://"):
		return "", fetched
	case strings.HasPrefix(specifier, "file://"):
		path, kind = "/"+strings.TrimLeft(strings.TrimPrefix(specifier, "file://"), "/"), rooted
	default:
		return "", foreign
	}
	path, err := url.PathUnescape(path)
	if err != nil || strings.ContainsRune(path, 0) {
		return "", foreign
	}
	return path, kind
}
