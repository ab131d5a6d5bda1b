package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/cli"
)

// getOptions are the flags of k6x get.
type getOptions struct {
	builderOptions
	displayOptions
	platform string
	binDir   string
	output   string
	noToken  bool // the service is not the one that the token is for
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
	f.StringVar(&o.platform, "platform", hostPlatform().String(), "`OS/ARCH` of a list; a URL says it itself")
	f.StringVar(&o.binDir, "bin-dir", ".", "`directory` to write it to, as k6 or k6.exe")
	f.StringVar(&o.output, "output", "", "`file` to write it to instead")
	f.StringVar(&o.service, "builder-service", "", "`URL` of the builder service, for a list")
	o.addTokenFlag(f)
	o.displayOptions.addFlags(f, "print nothing but errors")
	return cmd
}

func (o *getOptions) run(ctx context.Context, argument string, stdout, stderr io.Writer) error {
	shown := o.screen(stderr)
	defer shown.close()
	platform, list, err := o.target(argument)
	if err != nil {
		return wrongUsage(err)
	}
	service, err := o.dial(shown)
	if err != nil {
		return err
	}
	if o.noToken {
		service.Token = ""
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

// target returns the platform and list that a URL or list names. A URL says where the service is as well.
func (o *getOptions) target(argument string) (k6x.Platform, k6x.List, error) {
	if service, platform, list, ok, err := client.ParseURL(argument); ok {
		if o.service != "" && !client.SameHost(o.service, service) {
			o.noToken = true // it is for the other service
		}
		o.service = service
		return platform, list, err
	}
	platform, err := k6x.ParsePlatform(o.platform)
	if err != nil {
		return k6x.Platform{}, nil, &cli.UsageError{Err: err}
	}
	if strings.Contains(argument, "://") {
		return platform, nil, k6x.Errorf(k6x.Invalid, "%q is neither an http or https URL nor a list", argument)
	}
	list, err := k6x.ParseList(argument)
	return platform, list, err
}
