package buildcache

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"k6x"
	"k6x/internal/disk"
)

// Files are the directories that [Export] and [Import] move: a build cache, and others beside it.
type Files struct {
	Dir string // a GOCACHE

	// Beside are directories by name, such as one for the modules that were downloaded. The files in them never
	// change, or are as good as those of another machine.
	Beside map[string]string
}

// Totals count the parts of a build cache that were moved.
type Totals struct {
	Actions int
	Outputs int
	Bytes   int64 // of outputs, uncompressed
}

// Bounds on a file that is imported.
const (
	maxImport        = 64 << 30 // bytes, uncompressed
	maxImportEntries = 5_000_000
)

// Export writes a build cache and the directories beside it to w as one file: a tar compressed with zstd, with the same names
// as in the directory, each body before the actions that have it. Damaged bodies are left out. go commands may use
// the directories meanwhile.
func Export(ctx context.Context, files Files, w io.Writer) (Totals, error) {
	l, err := openLocal(files.Dir)
	if err != nil {
		return Totals{}, err
	}
	l.still = true
	enc, err := zstd.NewWriter(w)
	if err != nil {
		return Totals{}, err
	}
	archive := tar.NewWriter(enc)
	var t Totals
	written := make(map[ID]bool)
	err = l.each(ctx, func(action ID, e Entry) error {
		good, seen := written[e.Output]
		if !seen {
			good = l.verify(e.Output, e.Size) == nil
			written[e.Output] = good
			if good {
				if err := addFile(archive, outputName(e.Output), e.Path); err != nil {
					return err
				}
				t.Outputs++
				t.Bytes += e.Size
			}
		}
		if !good {
			return nil
		}
		t.Actions++
		line := formatLine(action, e)
		if err := archive.WriteHeader(header(actionName(action), int64(len(line)))); err != nil {
			return err
		}
		_, err := io.WriteString(archive, line)
		return err
	})
	for _, name := range slices.Sorted(maps.Keys(files.Beside)) {
		if err == nil {
			err = addDir(ctx, archive, name, files.Beside[name])
		}
	}
	return t, errors.Join(err, archive.Close(), enc.Close())
}

// addFile adds a file to an archive.
func addFile(archive *tar.Writer, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = archive.WriteHeader(header(name, info.Size()))
	}
	if err == nil {
		_, err = io.CopyN(archive, f, info.Size())
	}
	return err
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Name: name, Size: size, Mode: 0o644, Format: tar.FormatPAX}
}

// Import adds what [Export] wrote. Each body of the build cache is verified; that an action has it, and what is in the
// directories beside it, is the word of the file. Nothing that is there is replaced. A file that is damaged is an error of kind
// Invalid; what came before the damage is kept.
func Import(ctx context.Context, files Files, r io.Reader) (Totals, error) {
	l, err := openLocal(files.Dir)
	if err != nil {
		return Totals{}, err
	}
	from := &source{r: r}
	dec, err := zstd.NewReader(from, zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return Totals{}, notExported(err)
	}
	defer dec.Close()
	t, err := l.importFrom(ctx, files.Beside, tar.NewReader(io.LimitReader(dec, maxImport)))
	if err == nil {
		_, err = disk.ReadAll(dec, 1<<20) // the padding at its end, which has a checksum
	}
	if err == nil && from.read == 0 {
		err = io.ErrUnexpectedEOF
	}
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, errLocal):
		return t, err
	case from.err != nil:
		return t, from.err
	}
	return t, notExported(err)
}

func notExported(err error) error {
	return k6x.Errorf(k6x.Invalid, "this is not a build cache that k6x exported, or not all of it").
		WithHint("Export it again, and compare the size of the file before and after it was moved.").WithCause(err)
}

func (l *local) importFrom(ctx context.Context, beside map[string]string, archive *tar.Reader) (t Totals, err error) {
	sizes := make(map[ID]int64)
	left := int64(maxImport)
	for range maxImportEntries {
		if err := ctx.Err(); err != nil {
			return t, err
		}
		h, err := archive.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return t, err
		}
		// A sparse file has sizes of its own, which nothing bounds.
		for record := range h.PAXRecords {
			if strings.HasPrefix(record, "GNU.sparse") {
				return t, fmt.Errorf("%.100q in a build cache is sparse", h.Name)
			}
		}
		if left -= h.Size; left < 0 {
			return t, fmt.Errorf("more than %d bytes", int64(maxImport))
		}
		if strings.HasPrefix(h.Name, besideDir+"/") {
			if err := importBeside(beside, h, &source{r: archive}); err != nil {
				return t, err
			}
			continue
		}
		dir, name := path.Split(h.Name)
		text, kind := name[:max(0, len(name)-2)], name[max(0, len(name)-2):]
		id, err := ParseID(text)
		if err != nil || dir != text[:2]+"/" || h.Typeflag != tar.TypeReg || h.Size < 0 {
			return t, fmt.Errorf("%.100q in a build cache", h.Name)
		}
		switch kind {
		case "-d":
			if err := l.receive(id, h.Size, &source{r: archive}); err != nil {
				return t, err
			}
			sizes[id] = h.Size
			t.Outputs++
			t.Bytes += h.Size
		case "-a":
			line, err := disk.ReadAll(archive, lineSize)
			if err != nil {
				return t, err
			}
			e, err := parseLine(id, string(line))
			if err != nil {
				return t, err
			}
			if size, ok := sizes[e.Output]; !ok || size != e.Size {
				return t, fmt.Errorf("action %v without its output", id)
			}
			if err := l.bind(id, e.Output, e.Size); err != nil {
				return t, fmt.Errorf("%w: %w", errLocal, err)
			}
			t.Actions++
		default:
			return t, fmt.Errorf("%.100q in a build cache", h.Name)
		}
	}
	return t, fmt.Errorf("more than %d entries", maxImportEntries)
}

// Files of the directories beside a build cache are named beside/NAME/path in an exported file.
const (
	besideDir     = "beside"
	maxBesideName = 1000 // bytes
)

// addDir adds the files in dir, which need not be there, to an archive.
func addDir(ctx context.Context, archive *tar.Writer, name, dir string) error {
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		switch ext := path.Ext(entry.Name()); {
		case entry.IsDir() && rel == "tmp":
			return filepath.SkipDir
		case !entry.Type().IsRegular(), ext == ".lock", ext == ".partial", ext == ".tmp": // there only while a process writes
			return nil
		}
		err = addFile(archive, path.Join(besideDir, name, filepath.ToSlash(rel)), file)
		if errors.Is(err, fs.ErrNotExist) { // it is gone meanwhile
			return nil
		}
		return err
	})
}

// importBeside writes a file of an archive to where it belongs, unless there is one. One whose name leads elsewhere
// is refused; one of a directory that is not in beside is passed over.
func importBeside(beside map[string]string, h *tar.Header, body *source) error {
	_, rest, _ := strings.Cut(h.Name, "/")
	name, rel, ok := strings.Cut(rest, "/")
	if !ok || len(h.Name) > maxBesideName || h.Typeflag != tar.TypeReg || h.Size < 0 || path.Clean(rel) != rel || !filepath.IsLocal(filepath.FromSlash(rel)) {
		return fmt.Errorf("%.100q in a build cache", h.Name)
	}
	dir, ok := beside[name]
	if !ok {
		return nil
	}
	// Whatever is there already, links among it, does not lead out of the directory.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	defer root.Close()
	local := filepath.FromSlash(rel)
	if _, err := root.Lstat(local); err == nil {
		return nil
	}
	temp := local + "-" + rand.Text() + ".tmp"
	err = root.MkdirAll(filepath.Dir(local), 0o755)
	if err == nil {
		err = writeNew(root, temp, h.Size, body)
	}
	if err == nil {
		err = root.Rename(temp, local)
	}
	if err == nil {
		return nil
	}
	_ = root.Remove(temp)
	if body.err != nil {
		return body.err
	}
	return fmt.Errorf("%w: %w", errLocal, err)
}

func writeNew(root *os.Root, name string, size int64, body io.Reader) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.CopyN(file, body, size)
	return errors.Join(err, file.Close())
}
