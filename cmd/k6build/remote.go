package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/progress"
)

// tokenVariable has a token for a build service.
const tokenVariable = "K6BUILD_TOKEN"

type remoteOptions struct {
	requestOptions
	server    string
	tokenFile string
}

func newRemoteCommand() *cobra.Command {
	var o remoteOptions
	cmd := &cobra.Command{
		Use:   "remote",
		Short: "Have a build service build k6",
		Long: `Have a build service build k6, and print what it made. With --output the binary is
downloaded and its checksum compared.

A service that wants a token gets the one in the variable ` + tokenVariable + `, or in --token-file.`,
		Example: `  k6build remote -d k6/x/redis:v0.3.6 -o k6
  k6build remote -s https://builds.example.com -k v1.8.1 -p windows/amd64 -o k6.exe`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRemote(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	o.addFlags(f, "")
	f.StringVarP(&o.server, "server", "s", "http://localhost:8000", "`URL` of the build service")
	f.StringVar(&o.tokenFile, "token-file", "", "`file` with the token for the service")
	return cmd
}

func runRemote(ctx context.Context, o remoteOptions, stdout, stderr io.Writer) error {
	if _, err := k6x.ParsePlatform(o.platform); err != nil {
		return cli.Usage(err)
	}
	token, err := cli.Token(tokenVariable, o.tokenFile)
	if err != nil {
		return err
	}
	c, err := newClient(o.server, token)
	if err != nil {
		return err
	}
	shown := progress.New(stderr, o.quiet)
	defer shown.Close()
	shown.Spin("building at " + c.Base.Host)
	made, err := c.build(ctx, buildRequest{K6: o.k6, Dependencies: o.dependencies(), Platform: o.platform, K6ModPath: o.k6ModPath})
	if err != nil {
		return err
	}
	if o.output != "" {
		if err := c.download(ctx, made, o.output, shown); err != nil {
			return err
		}
	}
	shown.Close()
	for _, warning := range made.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", k6x.Printable(warning))
	}
	if o.quiet {
		return nil
	}
	return details{id: made.ID, platform: made.Platform, dependencies: made.Dependencies, checksum: made.Checksum, url: made.URL}.print(stdout)
}
