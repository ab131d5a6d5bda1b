// Bench measures k6x on this machine against what could not be faster: the file server of
// net/http, nginx, a bare link. It prints a table:
//
//	go run ./bench
//	go run ./bench -only hit -count 9 -json hits.json
//
// Whatever is compared is measured in turns in one run, so that only ratios count. Each
// measurement is a function in a file of its own, and is in the list in list.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == serveFiles {
		fmt.Fprintln(os.Stderr, fileServer(os.Args[2], os.Stdout))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

const usage = `usage: bench [flags]

Measures k6x on this machine, side by side with what could not be faster, and prints a table. -list tells what there
is to measure. What takes many minutes runs only if -only names it: cold and platforms; the rest takes about ten minutes.

`

// run runs one command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	count := flags.Int("count", 5, "how often each thing is measured (those that take many minutes: 1)")
	short := flags.Bool("short", false, "small sizes and few repetitions: shows that everything runs, the figures mean little")
	only := flags.String("only", "", "`regexp` of the measurements to run")
	output := flags.String("json", "", "`file` for the figures as JSON")
	list := flags.Bool("list", false, "list the measurements and run none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only, *short)
	if err != nil {
		return err
	}
	if *count < 1 || flags.NArg() > 0 {
		return errors.New("-count is at least 1, and there are no arguments but flags")
	}
	if *list {
		return printList(stdout)
	}
	counted := false
	flags.Visit(func(f *flag.Flag) { counted = counted || f.Name == "count" })
	if *short {
		*count = 1
	}
	w, err := newWorld(ctx, *count, *short, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	all := report{Machine: thisMachine(), Started: time.Now().UTC().Truncate(time.Second), Count: *count, Short: *short}
	for _, m := range chosen {
		if w.count = *count; m.slow && !counted {
			w.count = 1
		}
		rows, err := w.measure(ctx, m)
		all.add(m.name, rows)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", m.name, err), all.print(stdout))
		}
	}
	if err := all.print(stdout); err != nil || *output == "" {
		return err
	}
	return all.writeFile(*output)
}
