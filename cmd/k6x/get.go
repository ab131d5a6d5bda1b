package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/cmd/internal/cli"
)

// getOptions are the flags of k6x get.
type getOptions struct {
	remoteOptions
	binDir string
	output string
}

func newGetCommand() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get [flags] URL|LIST",
		Short: "Download a k6 from a builder service, and verify it",
		Long: `Download a k6 from a builder service and verify it by the digest that the service announces. It is
named by a URL, or by a list as in the path of such a URL, which is asked for at --builder-service. If
that is set, a token goes to no other service, whatever the URL says.`,
		Example: `  k6x get https://builds.example.com/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6
  K6X_BUILDER_SERVICE=https://builds.example.com k6x get 'k6@^1.8,k6/x/redis' --output k6-redis`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &cli.UsageError{Err: fmt.Errorf("one URL or list is wanted, not %d", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	o.addPlatformFlag(f)
	f.StringVar(&o.binDir, "bin-dir", ".", "`directory` to write it to, as k6 or k6.exe")
	f.StringVar(&o.output, "output", "", "`file` to write it to instead")
	o.remoteOptions.addFlags(f)
	o.displayOptions.addFlags(f, "print nothing but errors")
	return cmd
}

func (o *getOptions) run(ctx context.Context, argument string, stdout, stderr io.Writer) error {
	shown := o.screen(stderr)
	defer shown.close()
	platform, list, err := o.target(argument)
	if err != nil {
		return cli.WrongUsage(err)
	}
	service, err := o.dial(shown)
	if err != nil {
		return err
	}
	name := o.output
	if name == "" {
		if name, err = programPath(o.binDir, platform); err != nil {
			return err
		}
	}
	file, err := cli.CreateOutput(name, "output")
	if err != nil {
		return err
	}
	defer file.Discard()
	made, err := service.Fetch(ctx, platform, list, file)
	if e, ok := errors.AsType[*k6x.Error](err); ok && e.Build != "" && o.named {
		e.Build = o.service + "/builds/" + e.Build
	}
	if err != nil {
		return err
	}
	if err := file.Commit(); err != nil {
		return err
	}
	shown.close()
	for _, warning := range made.Warnings {
		shown.warn(warning)
	}
	if !o.quiet {
		fmt.Fprintf(stdout, "%s: %s for %s\n  sha256: %s\n  from:   %s\n", name, made.List, platform, made.Digest, made.URL)
	}
	return nil
}
