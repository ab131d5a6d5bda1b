package script

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"k6x"
	"k6x/internal/disk"
)

// archive has the modules that "k6 archive" put into a tar file. Their ids are the names there:
// file/home/nobody/lib.js, https/host/lib.js. They stay where they are until they are read.
type archive struct {
	name    string // of the archive, for messages
	r       io.ReaderAt
	entries map[string]entry
}

type entry struct{ offset, size int64 }

// metadata is the part of metadata.json that is read.
type metadata struct {
	Filename     string            `json:"filename"`
	Dependencies map[string]string `json:"dependencies"`
}

// archive takes in an archive of size bytes.
func (a *analysis) archive(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	arc, err := indexArchive(name, r, size, a.limits.entries)
	if err != nil {
		return err
	}
	text, err := arc.read("metadata.json", a.limits.file)
	if isMissing(err) {
		a.note("%s: it was not looked into: it is a tar file, but none of k6", name)
		return nil
	}
	var meta metadata
	if err == nil {
		err = json.Unmarshal(text, &meta)
	}
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "the archive %s has a metadata.json that cannot be read: %v", name, err).
			WithHint("Make it again with k6 archive.").WithCause(err)
	}
	for _, dep := range slices.Sorted(maps.Keys(meta.Dependencies)) {
		if err := a.declared(dep, meta.Dependencies[dep], arc.show("metadata.json")); err != nil {
			return err
		}
	}
	id := arc.resolve("file/-", meta.Filename)
	if strings.HasPrefix(meta.Filename, "https://") {
		id = "https/" + strings.TrimPrefix(meta.Filename, "https://")
	}
	// The file itself is a link to this entry.
	main, ok := arc.entries["data"]
	if id == "" || !ok {
		a.note("%s: it was not looked into: it does not say which script is its main one", name)
		return nil
	}
	arc.entries[id] = main
	return a.walk(ctx, arc, module{id: id, from: arc.show("metadata.json"), under: meta.Filename})
}

func indexArchive(name string, r io.ReaderAt, size int64, most int) (*archive, error) {
	arc := &archive{name: name, r: r, entries: make(map[string]entry)}
	section := io.NewSectionReader(r, 0, size)
	reader := tar.NewReader(section)
	for range most {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return arc, nil
		}
		var offset int64
		if err == nil {
			// The reader reads nothing ahead, so that this is where the file's bytes start.
			offset, err = section.Seek(0, io.SeekCurrent)
		}
		if err != nil {
			return nil, k6x.Errorf(k6x.Invalid, "the archive %s is damaged: %v", name, err).
				WithHint("Make it again with k6 archive.").WithCause(err)
		}
		if header.Typeflag != tar.TypeReg || header.Size > size-offset {
			continue
		}
		id := header.Name
		if rest, ok := strings.CutPrefix(id, "file/"); ok {
			id = "file" + anonymous("/"+rest)
		}
		arc.entries[id] = entry{offset, header.Size}
	}
	return nil, k6x.Errorf(k6x.Invalid, "the archive %s has more than %d files", name, most)
}

func (arc *archive) read(id string, limit int64) ([]byte, error) {
	found, ok := arc.entries[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return disk.ReadAll(io.NewSectionReader(arc.r, found.offset, found.size), limit)
}

func (arc *archive) show(id string) string {
	if isRemote(id) {
		return showURL(id)
	}
	return arc.name + "(" + id + ")"
}

func (arc *archive) resolve(importer, specifier string) string {
	scheme, from, _ := strings.Cut(importer, "/")
	if strings.HasPrefix(specifier, "https://") {
		scheme, from = "https", ""
		specifier = "/" + strings.TrimPrefix(specifier, "https://")
	} else if volume.MatchString(specifier) {
		specifier = "/" + specifier
	}
	name, kind := classify(specifier)
	switch {
	case kind == foreign:
		return ""
	case kind == rooted:
		scheme = "file"
	case !strings.HasPrefix(name, "/"):
		name = path.Join("/", path.Dir(from), name)
	case scheme == "https" && from != "":
		host, _, _ := strings.Cut(from, "/")
		name = path.Join("/", host, name)
	}
	if scheme == "file" {
		return "file" + anonymous(path.Clean(name))
	}
	id := "https" + path.Clean(name)
	if _, ok := arc.entries[id]; !ok {
		return "https:/" + path.Clean(name)
	}
	return id
}

var (
	volume = regexp.MustCompile(`^/?([A-Za-z]):`)
	home   = regexp.MustCompile(`(?i)^((?:/[a-z])?/(?:users|home|documents and settings)/)[^/]+`)
)

// anonymous returns a path as k6 writes it into archives: with slashes, the volume as a directory, and
// the user whose home directory it is in renamed to "nobody".
func anonymous(path string) string {
	path = strings.ReplaceAll(path, `\`, "/")
	path = volume.ReplaceAllString(path, "/$1")
	return home.ReplaceAllString(path, "${1}nobody")
}
