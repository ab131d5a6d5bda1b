package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/buildevents"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/progress"
	"k6x/event"
)

// screen shows a person the progress of getting a k6.
type screen struct {
	w       io.Writer
	quiet   bool
	k6      bool // quiet is as k6 understands it, which takes what it says of the script for no progress
	verbose bool
	command *buildevents.Command
	display *progress.Display // nil: there is no terminal, or details are wanted instead
}

func newScreen(w io.Writer, quiet, verbose bool) *screen {
	return &screen{w: w, quiet: quiet, verbose: verbose, display: progress.New(w, quiet || verbose)}
}

// print writes a line; details are for --verbose.
func (s *screen) print(detail bool, text string) {
	if detail && !s.verbose || s.quiet && !s.verbose {
		return
	}
	s.display.Print(s.w, "k6x: "+k6x.Printable(text))
}

// note prints what has become of the script's needs.
func (s *screen) note(detail bool, text string) {
	loud := *s
	loud.quiet = s.quiet && !s.k6
	loud.print(detail, text)
}

// warn prints what there is to say against a binary.
func (s *screen) warn(warning string) { s.print(false, "warning: "+warning) }

func (s *screen) logger() *slog.Logger {
	if !s.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return cli.TextLogger(s.w, slog.LevelInfo)
}

// waiting shows that another process has to end first; without a display it prints a line.
func (s *screen) waiting(text string) {
	if s.display == nil {
		s.print(false, text)
		return
	}
	s.display.Spin(text)
}

// service returns a function that shows the progress of a request to a service; nil if there is no display.
func (s *screen) service() func(client.Event) {
	if s.display == nil {
		return nil
	}
	return func(e client.Event) {
		_, host, _ := strings.Cut(e.URL, "://")
		host, _, _ = strings.Cut(host, "/")
		switch {
		case e.Step == client.Resolving:
			s.display.Spin("asking " + host)
		case e.Step == client.Downloading:
			s.display.Bytes("downloading", e.Done, e.Total)
		case e.Doing == "":
			s.display.Spin("waiting for " + host + ", which may be building")
		default:
			s.step(host+" is ", e.Doing, "", e.Done, e.Total)
		}
	}
}

// step shows a step of a build.
func (s *screen) step(of, step, item string, done, total int64) {
	switch step {
	case event.Pulling.String():
		s.display.Bytes(of+"pulling "+item, done, total)
	case event.Fetching.String():
		s.display.Count(of+"fetching modules", done, total)
	case event.Compiling.String():
		s.display.Count(of+"compiling packages", done, total)
	default:
		s.display.Spin(of + k6x.Printable(step))
	}
}

// retrying prints that a request is tried again.
func (s *screen) retrying(err error, after time.Duration) {
	s.print(false, fmt.Sprintf("%v; trying again in %s", err, after.Round(1e8)))
}

// watch returns a sink that shows the progress of a build, after the prefix of, and passes its events on; nil if neither is wanted.
func (s *screen) watch(of string) event.Sink { return event.Tee(s.shownAfter(of), s.command.Sink()) }

func (s *screen) shownAfter(of string) event.Sink {
	if s.display == nil {
		return nil
	}
	return func(e event.Event) {
		if e.Type == event.Progress { // what failed is said at the end
			s.step(of, e.Step.String(), e.Item, e.Done, e.Total)
		}
	}
}

// open begins the stream of build events of a command, if one is wanted.
func (s *screen) open(o *buildevents.Options, cmd *cobra.Command, name string, args []string) (err error) {
	s.command, err = o.Open(cmd, name, args, func(line string) { s.print(false, line) })
	return err
}

func (s *screen) close() { s.display.Close() }
