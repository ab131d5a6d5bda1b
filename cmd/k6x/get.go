package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
)

func newGetCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "get [flags] URL|LIST",
		Short: "Download a k6 from a builder service, and verify it",
		Long: `Download a k6 from a builder service and verify it by the digest that the service announces. It is
named by a URL, by its path, or by the list in that, which are asked for at --builder-service. If that
is set, a token goes to no other service, whatever the URL says. Of a k6 that is much like one
that k6x run keeps, only the difference is downloaded if the service has it.`,
		Example: `  k6x get https://builds.example.com/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6
  K6X_BUILDER_SERVICE=https://builds.example.com k6x get 'k6@^1.8,k6/x/redis' --output k6-redis`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("one URL or list is wanted, not %d", len(args))
			}
			return nil
		},
		RunE: o.shown(o.download),
	}
	f := cmd.Flags()
	o.addPlatform(f)
	f.StringVar(&o.binDir, "bin-dir", ".", "`directory` to write it to, as k6 or k6.exe")
	f.StringVarP(&o.output, "output", "o", "", "`file` to write it to instead; -: standard output")
	app.CacheDirFlag(f, &o.cacheDir)
	o.addService(f)
	o.addDisplay(f, "print nothing but errors")
	return cmd
}

func (o *options) download(cmd *cobra.Command, args []string, shown *screen) error {
	platform, list, err := o.target(args[0])
	if err != nil {
		return cli.WrongUsage(err)
	}
	name := o.output
	if name == "" {
		if name, err = programPath(o.binDir, platform); err != nil {
			return err
		}
	}
	o.binDir = "" // the one of kept binaries, from now on
	service, err := o.dial(shown)
	if err != nil {
		return err
	}
	file, err := cli.CreateOutput(name, "output")
	if err != nil {
		return err
	}
	defer file.Discard()
	made, err := service.Fetch(cmd.Context(), platform, list, file)
	if e, ok := errors.AsType[*k6x.Error](err); ok && e.Build != "" && o.named {
		e.Build = o.service + "/builds/" + e.Build
	}
	if err == nil {
		err = file.Commit()
	}
	if err != nil {
		return err
	}
	shown.close()
	for _, warning := range made.Warnings {
		shown.warn(warning)
	}
	if !o.quiet {
		fmt.Fprintf(cli.Summary(cmd, name), "%s: %s for %s\n  sha256: %s\n  from:   %s\n", name, made.List, platform, made.Digest, made.URL)
	}
	return nil
}

// addService adds the flags of commands that ask a service for what their arguments name.
func (o *options) addService(f *pflag.FlagSet) {
	f.StringVar(&o.service, "builder-service", "", "`URL` of the builder service, unless it is in the argument")
	o.addToken(f)
}

func (o *options) addPlatform(f *pflag.FlagSet) {
	f.StringVar(&o.platform, "platform", hostPlatform().String(), "`OS/ARCH` of a list; a URL or path says it itself")
}

// at has the service at a URL asked. The token goes to the one of --builder-service only, if that is set.
func (o *options) at(service string) {
	o.noToken = o.service != "" && !client.SameHost(o.service, service)
	o.service, o.named = service, true
}

// target returns the platform and list that a URL, its path or a list names. A URL says where the service is as well.
func (o *options) target(argument string) (k6x.Platform, k6x.List, error) {
	if service, platform, list, ok, err := client.ParseURL(argument); ok {
		if service != "" {
			o.at(service)
		}
		return platform, list, err
	}
	platform, err := k6x.ParsePlatform(o.platform)
	if err != nil {
		return k6x.Platform{}, nil, cli.Usage(err)
	}
	if strings.Contains(argument, "://") {
		return platform, nil, k6x.Errorf(k6x.Invalid, "%q is neither an http or https URL nor a list", argument)
	}
	list, err := k6x.ParseList(argument)
	return platform, list, err
}

// buildURL matches the URL of a build, or of what there is below it.
var buildURL = regexp.MustCompile(`^(https?://.+)/builds/([0-9a-f-]{36})(/[a-z]+)?$`)

// lastBuild returns the id of the build that an argument names, by its id or URL, or as the last one of a binary, and a client of its service.
func (o options) lastBuild(ctx context.Context, argument string, shown *screen) (service *client.Client, id string, err error) {
	match := buildURL.FindStringSubmatch(argument)
	if match != nil {
		o.at(match[1])
		id = match[2]
	} else if uuid.Validate(argument) == nil {
		id = argument
	}
	if id != "" {
		service, err = o.dial(shown)
		return service, id, err
	}
	platform, list, err := o.target(argument)
	if err == nil {
		if service, err = o.dial(shown); err != nil {
			return nil, "", err
		}
		list, err = service.Resolve(ctx, platform, list)
	}
	if e, ok := errors.AsType[*k6x.Error](err); ok && (e.Kind == k6x.Invalid || e.Kind == k6x.NotFound && e.Hint == "") {
		e.Hint = "A build is named by the URL, path or list of a binary, or by its whole id, as k6x builds prints them."
	}
	if err != nil {
		return nil, "", cli.WrongUsage(err)
	}
	for b, err := range service.Builds(ctx, url.Values{"path": {list.Path(platform)}, "limit": {"1"}}) {
		return service, b.ID, err
	}
	return nil, "", k6x.Errorf(k6x.NotFound, "%s knows of no build of %s", service.Base.Host, list.Path(platform)).
		WithHint("What came of builds is kept for a while only.")
}
