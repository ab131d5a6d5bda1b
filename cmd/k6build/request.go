package main

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"k6x"
	"k6x/cmd/internal/cli"
)

// requestOptions are the flags that say which k6 is built.
type requestOptions struct {
	k6        string
	deps      []string // name, or name:constraint
	platform  string
	k6ModPath string
	output    string
	quiet     bool
}

func (o *requestOptions) addFlags(f *pflag.FlagSet, output string) {
	f.StringVarP(&o.k6, "k6", "k", "*", "`version` of k6, or a constraint")
	f.StringArrayVarP(&o.deps, "dependency", "d", nil, "`NAME[:CONSTRAINT]` of an extension; may be repeated")
	f.StringVarP(&o.platform, "platform", "p", runtime.GOOS+"/"+runtime.GOARCH, "`GOOS/GOARCH` to build for")
	f.StringVar(&o.k6ModPath, "k6modpath", "", "module `path` of k6: go.k6.io/k6 or go.k6.io/k6/v2 (default go.k6.io/k6)")
	f.StringVarP(&o.output, "output", "o", output, "`file` to write the binary to; -: standard output")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print no details of the binary, and no progress")
}

// dependency is a name and the versions that are allowed.
type dependency struct {
	Name        string `json:"name"`
	Constraints string `json:"constraints,omitempty"`
}

// dependencies splits the values of --dependency at the colon; that of subcommand:NAME is part of the name. The error is a usage error.
func (o *requestOptions) dependencies() ([]dependency, error) {
	list := make([]dependency, 0, len(o.deps))
	for _, text := range o.deps {
		rest, isSubcommand := strings.CutPrefix(text, "subcommand:")
		name, constraints, _ := strings.Cut(rest, ":")
		if before, version, ok := strings.Cut(text, "@"); ok && strings.Contains(name, "@") {
			return nil, cli.Usage(k6x.Errorf(k6x.Invalid, "--dependency %q is not NAME:CONSTRAINT", text).WithHint("Write %s:%s.", before, version))
		}
		if isSubcommand {
			name = "subcommand:" + name
		}
		list = append(list, dependency{strings.TrimSpace(name), strings.TrimSpace(constraints)})
	}
	return list, nil
}

// list returns the dependency list, k6 included. The error is a usage error.
func (o *requestOptions) list() (k6x.List, error) {
	named, err := o.dependencies()
	if err != nil {
		return nil, err
	}
	deps := append([]dependency{{k6x.K6, o.k6}}, named...)
	parsed := make([]k6x.Dependency, 0, len(deps))
	for _, dep := range deps {
		made, err := k6x.NewDependency(dep.Name, dep.Constraints)
		if err != nil {
			return nil, cli.Usage(err)
		}
		parsed = append(parsed, made)
	}
	list, err := k6x.NewList(parsed...)
	return list, cli.Usage(err)
}

// major returns the major version of k6 that its module path stands for.
func (o *requestOptions) major() (int, error) {
	switch o.k6ModPath {
	case "", "go.k6.io/k6":
		return 1, nil
	case "go.k6.io/k6/v2":
		return 2, nil
	}
	return 0, &cli.UsageError{Err: k6x.Errorf(k6x.Invalid, "--k6modpath is go.k6.io/k6 or go.k6.io/k6/v2, not %q", o.k6ModPath)}
}

// print writes what is known of a binary; only one that a service made has an id and a URL.
func (a artifact) print(w io.Writer) error {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", k6x.Printable(name), k6x.Printable(value))
		}
	}
	line("id", a.ID)
	line("platform", a.Platform)
	for _, name := range slices.SortedFunc(maps.Keys(a.Dependencies), k6x.CompareNames) {
		line(name, a.Dependencies[name])
	}
	line("checksum", a.Checksum)
	line("url", a.URL)
	_, err := io.WriteString(w, b.String())
	return err
}
