package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/builder"
	"k6x/cmd/internal/cli"
	"k6x/launcher/binaries"
	"k6x/launcher/script"
)

// scriptOptions are the flags of commands that look at a script and run nothing.
type scriptOptions struct {
	needOptions
	displayOptions
	outputs []string
}

func (o *scriptOptions) addFlags(f *pflag.FlagSet) {
	f.StringArrayVarP(&o.outputs, "out", "o", nil, "`OUTPUT` that the test writes to, as for k6 run; may be repeated")
	o.needOptions.addFlags(f)
	o.displayOptions.addFlags(f, "print no more than what was asked for")
}

// input returns the command line of a script, if there is one. Replaced are the names of --replace.
func (o *scriptOptions) input(args, replaced []string, stdin io.Reader) script.Input {
	in := script.Input{Stdin: stdin, Env: os.LookupEnv, Outputs: o.outputs, With: o.with, Replaced: replaced}
	if len(args) > 0 {
		in.Path = args[0]
	}
	return in
}

// buildOptions are the flags of k6x build.
type buildOptions struct {
	scriptOptions
	builderOptions
	replaceOptions
	keep     keepOptions
	platform string
	binDir   string
}

func newBuildCommand() *cobra.Command {
	var o buildOptions
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
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, args)
		},
	}
	f := cmd.Flags()
	o.scriptOptions.addFlags(f)
	f.StringVar(&o.platform, "platform", hostPlatform().String(), "`OS/ARCH` to make it for")
	f.StringVar(&o.binDir, "bin-dir", ".", "`directory` to write it to")
	o.replaceOptions.addFlags(f)
	o.builderOptions.addFlags(f)
	o.events.AddCommandFlags(f)
	o.lifetime = builder.Batch
	o.keep.addSize(f)
	return cmd
}

func atMostOneScript(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &cli.UsageError{Err: fmt.Errorf("one script at a time, not %d", len(args))}
	}
	return nil
}

func (o *buildOptions) run(cmd *cobra.Command, args []string) error {
	platform, err := k6x.ParsePlatform(o.platform)
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	shown := o.screen(cmd.ErrOrStderr())
	defer shown.close()
	if err := shown.open(&o.events, cmd, cmd.Name(), args); err != nil {
		return err
	}
	made, name, err := o.make(cmd.Context(), platform, o.input(args, o.names(), cmd.InOrStdin()), shown)
	if err := shown.command.Finish(cmd.Context(), err); err != nil {
		return err
	}
	shown.close()
	if o.quiet {
		return nil
	}
	stdout := cmd.OutOrStdout()
	_, err = fmt.Fprintf(stdout, "%s: %s for %s\n", name, made.Versions, platform)
	for _, text := range made.Replaced {
		fmt.Fprintf(stdout, "  replaced: %s\n", text)
	}
	return err
}

// make makes a k6 and copies it to the file that it returns.
func (o *buildOptions) make(ctx context.Context, platform k6x.Platform, in script.Input, shown *screen) (made program, name string, err error) {
	_, needs, err := o.analyze(ctx, in, shown)
	if err != nil {
		return program{}, "", err
	}
	shown.command.Start(needs.String())
	made, release, err := o.get(ctx, platform, needs, shown)
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

func (o *buildOptions) get(ctx context.Context, platform k6x.Platform, needs k6x.List, shown *screen) (program, func(), error) {
	if len(o.replace) > 0 {
		return o.getReplaced(ctx, o.replaceOptions, platform, needs, shown)
	}
	// Not among those of .k6x: it is --bin-dir here that says where a k6 goes.
	keep := binaries.Config{Dir: filepath.Join(o.cacheDir, "bin"), Size: int64(o.keep.size)}
	return o.builderOptions.get(ctx, keep, true, platform, needs, shown)
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
