package buildcache

import (
	"archive/tar"
	"context"
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
)

// Files are what is moved by [Export] and [Import]: a build cache and what goes with it.
type Files struct {
	Dir string // a GOCACHE

	// Beside are directories by name, such as one for the modules that were downloaded. The files in them never
	// change, or are as good as those of another machine.
	Beside map[string]string
}

// Totals say what was moved.
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

// Export writes a build cache and what goes with it to w as one file: a tar compressed with zstd, with the same names
// as in the directory, each body before the actions that have it. What is damaged is left out. go commands may use
// the directories meanwhile.
func Export(ctx context.Context, files Files, w io.Writer) (Totals, error) {
	n, err := openNear(files.Dir)
	if err != nil {
		return Totals{}, err
	}
	n.still = true
	enc, err := zstd.NewWriter(w)
	if err != nil {
		return Totals{}, err
	}
	archive := tar.NewWriter(enc)
	var t Totals
	written := make(map[ID]bool)
	err = n.each(ctx, func(action ID, e Entry) error {
		good, seen := written[e.Output]
		if !seen {
			good = n.verify(e.Output, e.Size) == nil
			written[e.Output] = good
			if good {
				if err := addFile(archive, n, e); err != nil {
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
		if err := archive.WriteHeader(header(n.action(action), int64(len(line)))); err != nil {
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

func addFile(archive *tar.Writer, n *near, e Entry) error {
	file, err := os.Open(e.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := archive.WriteHeader(header(e.Path, e.Size)); err != nil {
		return err
	}
	_, err = io.Copy(archive, io.LimitReader(file, e.Size))
	return err
}

func header(file string, size int64) *tar.Header {
	dir, name := filepath.Split(file)
	return &tar.Header{Name: path.Join(filepath.Base(dir), name), Size: size, Mode: 0o644, Format: tar.FormatUSTAR}
}

// each calls visit for each action whose body is there, until one returns an error.
func (n *near) each(ctx context.Context, visit func(action ID, e Entry) error) error {
	for i := range 256 {
		entries, err := os.ReadDir(filepath.Join(n.dir, fmt.Sprintf("%02x", i)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			name, ok := strings.CutSuffix(entry.Name(), "-a")
			action, err := ParseID(name)
			if !ok || err != nil {
				continue
			}
			e, err := n.get(action)
			if err != nil {
				continue
			}
			if err := visit(action, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Import adds what [Export] wrote. Each body of the build cache is verified; that an action has it, and what is in the
// directories beside it, is the word of the file. Nothing that is there is replaced. A file that is damaged is an error of kind
// Invalid; what came before the damage is kept.
func Import(ctx context.Context, files Files, r io.Reader) (Totals, error) {
	n, err := openNear(files.Dir)
	if err != nil {
		return Totals{}, err
	}
	from := &source{r: r}
	dec, err := zstd.NewReader(from, zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return Totals{}, notExported(err)
	}
	defer dec.Close()
	t, err := n.importFrom(ctx, files.Beside, tar.NewReader(io.LimitReader(dec, maxImport)))
	if err == nil {
		err = nothingMore(dec) // its end has a checksum
	}
	if err == nil && from.read == 0 {
		err = io.ErrUnexpectedEOF
	}
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, errNear):
		return t, err
	case from.err != nil:
		return t, from.err
	}
	return t, notExported(err)
}

// nothingMore reads the padding at the end of a file.
func nothingMore(r io.Reader) error {
	const most = 1 << 20
	n, err := io.Copy(io.Discard, io.LimitReader(r, most+1))
	if err == nil && n > most {
		err = errors.New("more than was exported")
	}
	return err
}

func notExported(err error) error {
	return k6x.Errorf(k6x.Invalid, "this is not a build cache that k6x exported, or not all of it").
		WithHint("Export it again, and compare the size of the file before and after it was moved.").WithCause(err)
}

func (n *near) importFrom(ctx context.Context, beside map[string]string, archive *tar.Reader) (t Totals, err error) {
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
			body := &source{r: archive}
			if err := n.add(id, h.Size, body); err != nil {
				if body.err == nil && !errors.Is(err, errOther) {
					err = fmt.Errorf("%w: %w", errNear, err)
				}
				return t, err
			}
			sizes[id] = h.Size
			t.Outputs++
			t.Bytes += h.Size
		case "-a":
			line, err := io.ReadAll(io.LimitReader(archive, lineSize+1))
			if err != nil {
				return t, err
			}
			e, err := parseLine(id, line)
			if err != nil {
				return t, err
			}
			if size, ok := sizes[e.Output]; !ok || size != e.Size {
				return t, fmt.Errorf("action %v without its output", id)
			}
			if err := n.bind(id, e.Output, e.Size); err != nil {
				return t, fmt.Errorf("%w: %w", errNear, err)
			}
			t.Actions++
		default:
			return t, fmt.Errorf("%.100q in a build cache", h.Name)
		}
	}
	return t, fmt.Errorf("more than %d entries", maxImportEntries)
}
