package main

import (
	"context"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/cli"
)

// remoteOptions are the flags of commands that ask a service for what their arguments name.
type remoteOptions struct {
	builderOptions
	displayOptions
	platform string
	named    bool // the service is that of an argument
	noToken  bool // and not the one that the token is for
}

func (o *remoteOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.service, "builder-service", "", "`URL` of the builder service, unless it is in the argument")
	o.addTokenFlag(f)
}

func (o *remoteOptions) addPlatformFlag(f *pflag.FlagSet) {
	f.StringVar(&o.platform, "platform", hostPlatform().String(), "`OS/ARCH` of a list; a URL says it itself")
}

// at has the service at a URL asked. The token goes to the one of --builder-service only, if that is set.
func (o *remoteOptions) at(service string) {
	o.noToken = o.service != "" && !client.SameHost(o.service, service)
	o.service, o.named = service, true
}

// dial returns a client of the service.
func (o *remoteOptions) dial(shown *screen) (*client.Client, error) {
	service, err := o.builderOptions.dial(shown)
	if err == nil && o.noToken {
		service.Token = ""
	}
	return service, err
}

// target returns the platform and list that a URL or list names. A URL says where the service is as well.
func (o *remoteOptions) target(argument string) (k6x.Platform, k6x.List, error) {
	if service, platform, list, ok, err := client.ParseURL(argument); ok {
		o.at(service)
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

// buildURL matches the URL of a build, or of what there is below it.
var buildURL = regexp.MustCompile(`^(https?://.+)/builds/([0-9a-f-]{36})(/[a-z]+)?$`)

// build returns the id of the build that an argument names, by its id or URL, or as the last one of a binary, and a client of its service.
func (o remoteOptions) build(ctx context.Context, argument string, shown *screen) (service *client.Client, id string, err error) {
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
	if err != nil {
		return nil, "", cli.WrongUsage(err)
	}
	if service, err = o.dial(shown); err != nil {
		return nil, "", err
	}
	if list, err = service.Resolve(ctx, platform, list); err != nil {
		return nil, "", err
	}
	for b, err := range service.Builds(ctx, url.Values{"path": {list.Path(platform)}, "limit": {"1"}}) {
		return service, b.ID, err
	}
	return nil, "", k6x.Errorf(k6x.NotFound, "%s knows of no build of %s", service.Base.Host, list.Path(platform)).
		WithHint("What came of builds is kept for a while only.")
}
