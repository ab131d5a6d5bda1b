// Package buildevents shows builds to other programs in the Build Event Protocol, by flags that Bazel's users know: a [Command] as one
// stream, and each of the [Builds] of a service as one.
//
// Files: options.go has the flags, command.go and builds.go the two.
package buildevents

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/grpc/credentials/oauth"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/event/bep"
	"k6x/event/bes"
)

// Options say where streams go. The zero value is nowhere.
type Options struct {
	files [3]string // of a command, by formats
	Dir   string    // of a service: a file for each build goes there; "": none

	backend    bes.Config
	bestEffort bool
	resultsURL string
	timeout    time.Duration // 0: no limit

	defaultCredentials bool
	credentials        string // a file
	scopes             []string
}

// formats are those of files.
var formats = [3]struct {
	flag, usage string
	format      bep.Format
}{
	{"build_event_json_file", "`file` for what happens, as events of the Build Event Protocol in JSON, one a line", bep.JSON},
	{"build_event_binary_file", "`file` for the same events, each behind its length", bep.Binary},
	{"build_event_text_file", "`file` for the same events as text", bep.Text},
}

// AddCommandFlags adds the flags of a command.
func (o *Options) AddCommandFlags(f *pflag.FlagSet) {
	for i, format := range formats {
		f.StringVar(&o.files[i], format.flag, "", format.usage)
	}
	o.addBackendFlags(f)
}

// AddServiceFlags adds the flags of a service.
func (o *Options) AddServiceFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Dir, "build-event-dir", "",
		"`directory` for a file of each build, with its events of the Build Event Protocol in JSON; the newest "+strconv.Itoa(maxFiles)+" stay (default none)")
	o.addBackendFlags(f)
}

func (o *Options) addBackendFlags(f *pflag.FlagSet) {
	f.StringVar(&o.backend.Backend, "bes_backend", "",
		"`address` of a Build Event Service that builds are shown to, grpc://HOST:PORT or grpcs://HOST:PORT (default none)")
	withInverse(f, &o.bestEffort, "bes_best_effort", true, "go on if the Build Event Service does not take all events; else a command that has done its work fails")
	withInverse(f, &o.backend.Lifecycle, "bes_lifecycle_events", true, "tell the Build Event Service when builds begin and end, too")
	f.StringVar(&o.resultsURL, "bes_results_url", "", "`URL` that leads to the results in the backend, with the id of the invocation behind it; the link is printed")
	f.DurationVar(&o.timeout, "bes_timeout", 10*time.Second, "how long the Build Event Service may take for what is left once a build has ended; 0 is as long as it takes")
	f.StringArrayVar(&o.backend.Headers, "bes_header", nil, "`NAME=VALUE` of a header for the Build Event Service; may be repeated")
	f.StringVar(&o.backend.ProjectID, "project_id", "", "`name` of the project at the Build Event Service")
	f.StringVar(&o.backend.Certificate, "tls_certificate", "", "`file` of certificates to trust of the Build Event Service, in PEM (default those of the system)")
	withInverse(f, &o.backend.TLS, "tls_enabled", false, "use TLS for grpc:// too")
	withInverse(f, &o.defaultCredentials, "google_default_credentials", false, "use the Google credentials of this machine for the Build Event Service")
	f.StringVar(&o.credentials, "google_credentials", "", "`file` of Google credentials for the Build Event Service")
	f.StringSliceVar(&o.scopes, "google_auth_scopes", []string{"https://www.googleapis.com/auth/cloud-platform"}, "`list` of scopes of those")
}

// withInverse adds a flag, and one that begins with no, which is not listed.
func withInverse(f *pflag.FlagSet, value *bool, name string, byDefault bool, usage string) {
	f.BoolVar(value, name, byDefault, usage+"; --no"+name+" is the opposite")
	inverse := f.VarPF(inverted{value}, "no"+name, "", "the opposite of --"+name)
	inverse.NoOptDefVal, inverse.Hidden = "true", true
}

// inverted is the flag that sets another one to the opposite.
type inverted struct{ value *bool }

func (i inverted) String() string { return strconv.FormatBool(i.value != nil && !*i.value) }
func (inverted) Type() string     { return "bool" }

func (i inverted) Set(s string) error {
	v, err := strconv.ParseBool(s)
	if err == nil {
		*i.value = !v
	}
	return err
}

// results returns the URL of the results of an invocation; "" if there is none.
func (o *Options) results(id string) string {
	switch {
	case o.resultsURL == "":
		return ""
	case strings.HasSuffix(o.resultsURL, "="): // a parameter
		return o.resultsURL + id
	}
	return strings.TrimSuffix(o.resultsURL, "/") + "/" + id
}

// dial returns a client of the backend; nil if there is none.
func (o *Options) dial() (*bes.Client, error) {
	if o.timeout < 0 {
		return nil, cli.Usage(errors.New("--bes_timeout is not negative"))
	}
	if o.backend.Backend == "" {
		return nil, nil
	}
	cfg := o.backend
	tokens, err := o.tokens(context.Background())
	if err != nil {
		return nil, cli.Usage(k6x.Errorf(k6x.Invalid, "the Google credentials cannot be used: %w", err))
	}
	if tokens != nil {
		cfg.Credentials = oauth.TokenSource{TokenSource: tokens}
	}
	client, err := bes.Dial(cfg)
	return client, cli.Usage(err)
}

// tokens returns the Google credentials that were asked for; nil if none were.
func (o *Options) tokens(ctx context.Context) (oauth2.TokenSource, error) {
	switch {
	case o.credentials != "":
		data, err := os.ReadFile(o.credentials)
		if err != nil {
			return nil, err
		}
		var file struct {
			Type google.CredentialsType `json:"type"`
		}
		if json.Unmarshal(data, &file) != nil {
			return nil, errors.New("the file is no JSON")
		}
		found, err := google.CredentialsFromJSONWithType(ctx, data, file.Type, o.scopes...)
		if err != nil {
			return nil, err
		}
		return found.TokenSource, nil
	case o.defaultCredentials:
		found, err := google.FindDefaultCredentials(ctx, o.scopes...)
		if err != nil {
			return nil, err
		}
		return found.TokenSource, nil
	}
	return nil, nil
}

// closeStream waits for what is not acknowledged, as long as it may.
func (o *Options) closeStream(ctx context.Context, s *bes.Stream) error {
	if o.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		ctx = limited
	}
	return s.Close(ctx)
}
