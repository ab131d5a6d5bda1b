package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/client"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/internal/gomod"
)

// Bounds on what comes out of a container.
const (
	maxBinary = 1 << 30  // bytes
	maxText   = 64 << 20 // bytes of a file that is not the binary
	maxFiles  = 100
)

// sendFiles puts the files of a job into a container that has not been started, with the home and the
// directory for temporary files that the go command needs.
func (e *Engine) sendFiles(ctx context.Context, id string, j job) error {
	if len(j.files) == 0 {
		return nil
	}
	all := map[string]string{tempDir + "/": "", homeDir + "/.config/go/telemetry/mode": "off"} // for which there is no variable
	for name, text := range j.files {
		all[path.Join(j.dir, name)] = text
	}
	tarball, err := pack(all)
	if err != nil {
		return gobuild.FileError("packing the main module", err)
	}
	return e.call(ctx, "filling a container", func(ctx context.Context) error {
		_, err := e.client.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: tarball})
		return err
	})
}

// pack returns a tar of files, by absolute path, and of their directories. A name with a slash at its end is that of an empty directory.
func pack(files map[string]string) (io.Reader, error) {
	all := maps.Clone(files)
	for name := range files {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			all[dir+"/"] = ""
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(all)) { // each directory comes before what is in it
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: 0o644, Size: int64(len(all[name]))}
		if strings.HasSuffix(name, "/") {
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, all[name]); err != nil {
			return nil, err
		}
	}
	return &buf, w.Close()
}

// fetchFiles gets what a job has left next to its files: the binary as a file, the rest as text
// by name.
func (e *Engine) fetchFiles(ctx context.Context, id string, j job) (map[string]string, error) {
	copied, err := e.client.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: j.dir})
	if err != nil {
		return nil, e.daemonError(ctx, "fetching the binary", err)
	}
	defer copied.Content.Close()
	text, err := unpack(copied.Content, path.Base(j.dir), j.into)
	if err != nil && ctx.Err() != nil {
		return nil, gobuild.Stopped(ctx, err)
	}
	return text, err
}

// unpack reads a tar of the directory named from, and puts the binary into the directory
// into. It is not trusted: only regular files that are
// expected are read, as far as they have a sensible size, and none of their names is used.
func unpack(r io.Reader, from, into string) (map[string]string, error) {
	text := make(map[string]string)
	seen := make(map[string]bool)
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return text, nil
		}
		if err != nil {
			return nil, badAnswer("it broke off").WithCause(err)
		}
		if n >= maxFiles {
			return nil, badAnswer("there are too many files")
		}
		name, inside := strings.CutPrefix(strings.TrimPrefix(h.Name, "./"), from+"/")
		if h.Typeflag == tar.TypeDir && (name == "" || !inside && name == from) {
			continue
		}
		binary := name == gobuild.OutputName
		known := binary || slices.Contains([]string{"main.go", goModName, goSumName, graphName, importsName}, name)
		switch {
		case !inside, h.Typeflag != tar.TypeReg, seen[name], !known:
			return nil, badAnswer("there is something else with it").WithCause(errors.New(h.Name))
		case h.Size > maxBinary, !binary && h.Size > maxText:
			return nil, badAnswer("it is too large")
		case binary:
			err = unpackBinary(filepath.Join(into, gobuild.OutputName), t)
		default:
			data, readErr := io.ReadAll(t)
			if text[name] = string(data); readErr != nil {
				err = badAnswer("it broke off").WithCause(readErr)
			}
		}
		if err != nil {
			return nil, err
		}
		seen[name] = true
	}
}

func unpackBinary(file string, r io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return gobuild.FileError("keeping the binary", err)
	}
	_, err = io.Copy(f, r)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*fs.PathError](err); ours {
		return gobuild.FileError("keeping the binary", err)
	}
	return badAnswer("it broke off").WithCause(err)
}

// graph returns what go.mod files require; without edges if the go command did not say.
func (r result) graph(recipe k6x.Recipe) (*gomod.Graph, error) {
	return gomod.ParseGraph(gobuild.Pins(recipe), strings.NewReader(r.text[graphName]))
}
