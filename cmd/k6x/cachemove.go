package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"k6x"
	"k6x/buildcache"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/internal/disk"
)

func (o *cacheOptions) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "export FILE|oci://HOST/REPOSITORY:TAG", Short: "Write all that building here needs as one file",
		Long: `Write all that building here needs as one file: Go's build cache, modules, and what is known of registries. On
a machine that has imported it, the builder native makes what was made here, and other combinations of it,
without a network but with a Go of the same version. To a registry it goes with the credentials of docker login.`,
		Example: `  k6x preload --platform linux/amd64 --with k6/x/redis
  k6x cache export k6x-cache.tar.zst
  k6x cache export oci://registry.example.com/tests/k6x-cache:v1`,
		Args: cli.OneArg("FILE, - for stdout, or oci://HOST/REPOSITORY:TAG"),
		RunE: o.export,
	}
}

func (o *cacheOptions) importCommand() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE|oci://HOST/REPOSITORY:TAG", Short: "Add what another machine has exported",
		Long: `Add what another machine has exported to what is here. Who wrote the file decides what is built of it: import
only what you would run.`,
		Example: `  k6x cache import k6x-cache.tar.zst
  K6X_BUILD_ENV=GOPROXY=off k6x run --builder native script.js`,
		Args: cli.OneArg("FILE, - for stdin, or oci://HOST/REPOSITORY:TAG"),
		RunE: o.importFrom,
	}
}

// isRegistry reports whether a location is in a registry of images.
func isRegistry(location string) bool { return strings.HasPrefix(location, "oci://") }

// files are the caches of builders here that are of use elsewhere.
func (o *cacheOptions) files() buildcache.Files {
	dir := o.goDir()
	return buildcache.Files{Dir: app.GoCache(o.cacheDir), Beside: map[string]string{
		"modules":  filepath.Join(dir, "modcache", "cache", "download"),
		"sumdb":    filepath.Join(dir, "home", "go", "pkg", "sumdb"),
		"resolver": filepath.Join(o.cacheDir, "resolver"),
	}}
}

func (o *cacheOptions) export(cmd *cobra.Command, args []string) error {
	location := args[0]
	if location == "-" {
		_, err := buildcache.Export(cmd.Context(), o.files(), cmd.OutOrStdout())
		return err
	}
	file := location
	if isRegistry(location) {
		disk.Sweep(o.cacheDir, exportPrefix, 6*time.Hour)  // those of killed exports
		dir, err := os.MkdirTemp(o.cacheDir, exportPrefix) // a registry wants its size and digest before its bytes
		if errors.Is(err, os.ErrNotExist) {
			return nothingBuilt()
		}
		if err != nil {
			return k6x.Errorf(k6x.Internal, "the cache directory cannot be written: %w", err).WithHint("Choose another one with --cache-dir.")
		}
		defer os.RemoveAll(dir)
		file = filepath.Join(dir, "file")
	}
	totals, size, err := o.exportTo(cmd.Context(), file)
	if err != nil {
		return err
	}
	if isRegistry(location) {
		if err := buildcache.PushFile(cmd.Context(), location, file); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(cli.Summary(cmd, location), "%s has %s and the modules, %s\n", location, packages(totals), humanize.IBytes(uint64(size)))
	return err
}

// exportTo writes an export to a file, as a whole or not at all.
func (o *cacheOptions) exportTo(ctx context.Context, file string) (totals buildcache.Totals, size int64, err error) {
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return totals, 0, k6x.Errorf(k6x.Invalid, "%s is a directory", file).WithHint("Name a file in it.")
	}
	out, err := cli.CreateOutput(file, "")
	if err != nil {
		return totals, 0, err
	}
	defer out.Discard()
	totals, err = buildcache.Export(ctx, o.files(), out)
	if err == nil && totals.Outputs == 0 {
		err = nothingBuilt()
	}
	if err == nil {
		err = out.Chmod(0o644)
	}
	if err != nil {
		return totals, 0, fmt.Errorf("export to %s: %w", file, err)
	}
	info, err := out.Stat()
	if err != nil {
		return totals, 0, err
	}
	return totals, info.Size(), out.Commit()
}

func packages(t buildcache.Totals) string {
	return english.Plural(int(t.Outputs), "compiled package", "")
}

func nothingBuilt() error {
	return k6x.Errorf(k6x.NotFound, "nothing was built here yet").WithHint("Build something first, as by k6x preload.")
}

// exportPrefix begins the names of directories with an export on its way to a registry.
const exportPrefix = "export-"

func (o *cacheOptions) importFrom(cmd *cobra.Command, args []string) (err error) {
	var from io.ReadCloser
	switch location := args[0]; {
	case location == "-":
		from = io.NopCloser(cmd.InOrStdin())
	case isRegistry(location):
		from, err = buildcache.OpenFile(cmd.Context(), location)
	default:
		from, err = os.Open(location)
		if errors.Is(err, os.ErrNotExist) {
			err = k6x.Errorf(k6x.NotFound, "there is no file %s", location)
		}
	}
	if err != nil {
		return err
	}
	defer from.Close()
	totals, err := buildcache.Import(cmd.Context(), o.files(), from)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "imported %s (%s) and the modules\n", packages(totals), humanize.IBytes(uint64(totals.Bytes)))
	return err
}
