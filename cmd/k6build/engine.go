package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/resolver"
)

// engineOptions are the flags that local and server have in common: registries, and the go command.
type engineOptions struct {
	app.GoOptions
	catalog    string
	catalogFor []string // MODULE=LOCATION
	copyGoEnv  bool
	cgo        bool
	verbose    bool
}

func (e *engineOptions) addFlags(f *pflag.FlagSet, cgo bool) {
	f.StringVarP(&e.catalog, "catalog", "c", "", "`location` of the catalog of extensions: a file or a URL (default that of k6)")
	f.StringArrayVar(&e.catalogFor, "catalog-for", nil,
		"`MODULE=LOCATION` of the catalog for another k6, such as go.k6.io/k6/v2=v2.json; may be repeated")
	e.GoOptions.AddFlags(f, "env", "e")
	f.BoolVarP(&e.copyGoEnv, "copy-go-env", "g", true, "fetch modules with the settings that go env has here, such as GOPROXY")
	f.BoolVar(&e.cgo, "enable-cgo", cgo, "build extensions that need cgo, which runs the C compiler on their code")
	f.BoolVarP(&e.verbose, "verbose", "v", false, "log what is done to stderr")
}

// registries returns where extensions are looked up, nil for the default. A catalog
// that has one k6 speaks for that k6 only.
func (e *engineOptions) registries() ([]string, error) {
	var list []string
	if e.catalog != "" {
		list = append(list, e.catalog)
	}
	for _, text := range e.catalogFor {
		module, location, ok := strings.Cut(text, "=")
		if !ok || location == "" || !strings.HasPrefix(module, "go.k6.io/k6") {
			return nil, &cli.UsageError{Err: fmt.Errorf("--catalog-for %q is not MODULE=LOCATION, such as go.k6.io/k6/v2=v2.json", text)}
		}
		if list == nil {
			list = []string{resolver.Embedded, resolver.DefaultRegistry}
		}
		list = append(list, location)
	}
	return list, nil
}

// goDefaults are the settings for fetching modules of a go command without any configuration.
var goDefaults = []string{
	"GOPROXY=", "GOSUMDB=sum.golang.org", "GONOPROXY=", "GONOSUMDB=", "GOPRIVATE=",
	"GOINSECURE=", "GOVCS=", "GOAUTH=netrc",
}

// nextVariable is where another variable begins in a value of --env, which may have several: A=1,B=2.
var nextVariable = regexp.MustCompile(`,([A-Za-z_]\w*=)`)

// set sets the options of a service that these flags decide.
func (e *engineOptions) set(o *app.Options) (err error) {
	o.Registries, err = e.registries()
	o.Cgo, o.GoOptions = e.cgo, e.GoOptions
	o.Env = nil
	for _, kv := range e.Env {
		o.Env = append(o.Env, strings.Split(nextVariable.ReplaceAllString(kv, "\n$1"), "\n")...)
	}
	if !e.copyGoEnv {
		o.Env = slices.Concat(goDefaults, o.Env)
	}
	return err
}
