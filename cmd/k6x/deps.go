package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/launcher"
)

func newDepsCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "deps [flags] [script]",
		Short: "Print what a script needs",
		Long: `Print what a script needs: the names of extensions, with the versions of them and of k6 that will
do. With --resolve, exact versions are printed: the newest that go together.`,
		Example: `  k6x deps script.js
  k6x deps --resolve --json script.js`,
		Args: atMostOneScript,
		RunE: o.shown(o.deps),
	}
	f := cmd.Flags()
	f.BoolVar(&o.json, "json", false, "print a JSON object of names and versions")
	f.BoolVar(&o.resolve, "resolve", false, "print exact versions, which a builder is asked for")
	o.addScript(f)
	o.addBuilders(f)
	return cmd
}

func (o *options) deps(cmd *cobra.Command, args []string, shown *screen) error {
	ctx, stdout := cmd.Context(), cmd.OutOrStdout()
	report, needs, err := o.analyze(ctx, o.script(cmd, args), shown)
	if err != nil {
		return err
	}
	for _, need := range report.Needs {
		for _, source := range need.Sources {
			shown.print(true, fmt.Sprintf("%s %s is asked for by %s", need.Name, source.Constraint, source.Where))
		}
		if need.Optional {
			shown.print(true, need.Name+" is optional: it is loaded in code only")
		}
	}
	list, err := o.list(ctx, needs, shown)
	if err != nil {
		return err
	}
	shown.close()
	if o.json {
		object := make(map[string]string, len(list))
		for _, dep := range list {
			object[dep.Name] = dep.Constraint.String()
		}
		out := json.NewEncoder(stdout)
		out.SetEscapeHTML(false) // of >=
		return out.Encode(object)
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 1, ' ', 0)
	for _, dep := range list {
		fmt.Fprintf(table, "%s\t%s\n", dep.Name, dep.Constraint)
	}
	return table.Flush()
}

// list returns the dependencies, resolved with --resolve.
func (o *options) list(ctx context.Context, needs k6x.List, shown *screen) (k6x.List, error) {
	list, err := launcher.WithK6(needs)
	if err != nil || !o.resolve {
		return list, err
	}
	sources, err := o.sources(shown)
	if err != nil {
		return nil, err
	}
	l := launcher.Launcher{Sources: sources, Platform: hostPlatform(), Print: shown.print, Optional: o.optional}
	pinned, by, err := l.Resolve(ctx, list)
	if err == nil {
		shown.print(true, "resolved by "+by)
	}
	return pinned, err
}
