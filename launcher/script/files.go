package script

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"k6x"
	"k6x/internal/disk"
	"k6x/internal/web"
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

// isRemote reports whether the id of a module is a URL, which k6 will fetch, too.
func isRemote(id string) bool { return strings.HasPrefix(id, "https://") }

// resolveRemote returns the id of what a module of a URL imports; "" if that is left to k6.
func resolveRemote(importer, specifier string) string {
	base, err := url.Parse(importer)
	if _, kind := classify(specifier); err != nil || kind != relative && kind != fetched {
		return ""
	}
	u, err := base.Parse(specifier)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return ""
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}

// showURL returns a URL without what may be secret in it.
func showURL(id string) string {
	u, err := url.Parse(id)
	if err != nil {
		return "a URL that cannot be read"
	}
	return web.Shown(u)
}

// remoteScript reads the script or archive at a URL.
func (a *analysis) remoteScript(ctx context.Context, id string) error {
	a.deadline = time.Now().Add(a.limits.duration)
	text, err := a.fetch(ctx, id, a.limits.stdin)
	if err != nil {
		a.unfetched(module{id: id}, err)
		return ctx.Err()
	}
	return a.main(ctx, id, bytes.NewReader(text), int64(len(text)))
}

// fetch returns the module at a URL as k6 will get it: asked for with a parameter of k6's own or, if the server
// does not have that, without.
func (a *analysis) fetch(ctx context.Context, id string, limit int64) (text []byte, err error) {
	if a.http == nil {
		return nil, errors.New("it is k6 that fetches it")
	}
	u, err := url.Parse(id)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	ctx, stop := context.WithDeadline(ctx, a.deadline)
	defer stop()
	plain := *u
	u.RawQuery = strings.TrimPrefix(u.RawQuery+"&_k6=1", "&")
	for _, u := range []*url.URL{u, &plain} {
		var refused bool
		if text, refused, err = a.get(ctx, u, limit); !refused {
			break
		}
	}
	return text, err
}

// get makes one request. It was refused if there is an answer, but no module.
func (a *analysis) get(ctx context.Context, u *url.URL, limit int64) (text []byte, refused bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, false, web.WithoutURL(err)
	}
	req.Header.Set("User-Agent", web.UserAgent)
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, false, web.WithoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, true, fmt.Errorf("%s answers %s", u.Host, resp.Status)
	}
	text, err = disk.ReadAll(resp.Body, limit)
	return text, false, err
}

// unfetched says that a module of a URL was not read, and what helps if an extension is missing therefore.
func (a *analysis) unfetched(m module, err error) {
	why := err.Error()
	if large, ok := tooLarge(err); ok {
		why = large
	}
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("what is fetched took longer than %s", a.limits.duration)
	}
	from := ""
	if m.from != "" {
		from = " (imported by " + m.from + ")"
	}
	if len(a.report.Unread) < maxNotes {
		a.report.Unread = append(a.report.Unread, fmt.Sprintf(
			"%s%s was not looked into: %s. If it needs an extension, name that, as in --with k6/x/redis", showURL(m.id), from, why))
	}
}

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
