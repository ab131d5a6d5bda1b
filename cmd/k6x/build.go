package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/builder"
	"k6x/cmd/internal/cli"
	"k6x/launcher/binaries"
	"k6x/launcher/script"
)

func newBuildCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "build [flags] [script]",
		Short: "Make a k6 with what a script needs, and write it to a directory",
		Long: `Make a k6 that has what a script needs, and write it to a directory as k6 (k6.exe for windows).
Versions are the newest that the script allows; what is kept of earlier runs has no say in them.
Extensions are those of the registry; a Go module is built only if --with, K6_DEPENDENCIES or
--replace names it.`,
		Example: `  k6x build script.js
  k6x build --with k6/x/redis --with 'k6 >=1.8' --platform windows/amd64 --bin-dir dist`,
		Args: atMostOneScript,
		RunE: o.shown(o.build),
	}
	f := cmd.Flags()
	o.addScript(f)
	f.StringVar(&o.platform, "platform", hostPlatform().String(), "`OS/ARCH` to make it for")
	f.StringVar(&o.binDir, "bin-dir", ".", "`directory` to write it to")
	o.addReplace(f)
	o.addBuilders(f)
	o.events.AddCommandFlags(f)
	o.lifetime = builder.Batch
	o.addSize(f)
	return cmd
}

func atMostOneScript(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("one script at a time, not %d", len(args))
	}
	return nil
}

func (o *options) build(cmd *cobra.Command, args []string, shown *screen) error {
	platform, err := k6x.ParsePlatform(o.platform)
	if err != nil {
		return cli.Usage(err)
	}
	if err := shown.open(&o.events, cmd, cmd.Name(), args); err != nil {
		return err
	}
	made, name, err := o.make(cmd.Context(), platform, o.script(cmd, args), shown)
	if err := shown.command.Finish(cmd.Context(), err); err != nil || o.quiet {
		return err
	}
	shown.close()
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s for %s\n%s", name, made.Versions, platform, made.Replaced)
	return err
}

// make makes a k6 and copies it to the file that it returns.
func (o *options) make(ctx context.Context, platform k6x.Platform, in script.Input, shown *screen) (made program, name string, err error) {
	_, needs, err := o.analyze(ctx, in, shown)
	if err != nil {
		return program{}, "", err
	}
	shown.command.Start(needs.String())
	// Not among those of .k6x: it is --bin-dir here that says where a k6 goes.
	keep := binaries.Config{Dir: filepath.Join(o.cacheDir, "bin"), Size: int64(o.binSize)}
	made, release, err := o.get(ctx, keep, true, platform, needs, shown)
	if err != nil {
		return program{}, "", err
	}
	defer release()
	if name, err = programPath(o.binDir, platform); err == nil {
		err = copyProgram(made.Path, name)
	}
	if err == nil {
		shown.command.Stored(ctx, made.Target, name)
	}
	return made, name, err
}

// copyProgram writes a copy that comes to its name as a whole, or not at all.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := cli.CreateOutput(to, "bin-dir")
	if err != nil {
		return err
	}
	defer out.Discard()
	if _, err := io.Copy(out, in); err != nil {
		return out.NotWritten(err)
	}
	return out.Commit()
}
