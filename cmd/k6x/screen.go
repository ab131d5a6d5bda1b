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
		host := hostOf(e.URL)
		switch {
		case e.Step == client.Resolving:
			s.display.Spin("asking " + host)
		case e.Step == client.Downloading:
			s.display.Bytes("downloading", e.Done, e.Total)
		case e.Doing == "":
			s.display.Spin("waiting for " + host + ", which may be building")
		case e.Doing == event.Fetching.String():
			s.display.Count(host+" is fetching modules", e.Done, e.Total)
		case e.Doing == event.Compiling.String():
			s.display.Count(host+" is compiling packages", e.Done, e.Total)
		default:
			s.display.Spin(host + " is " + k6x.Printable(e.Doing))
		}
	}
}

// retrying prints that a request is tried again.
func (s *screen) retrying(err error, after time.Duration) {
	s.print(false, fmt.Sprintf("%v; trying again in %s", err, after.Round(1e8)))
}

func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// watch returns a sink that shows the progress of a build, after the prefix of, and passes its events on; nil if neither is wanted.
func (s *screen) watch(of string) event.Sink { return event.Tee(s.shownAfter(of), s.command.Sink()) }

func (s *screen) shownAfter(of string) event.Sink {
	if s.display == nil {
		return nil
	}
	return func(e event.Event) {
		if e.Type != event.Progress { // what failed is said at the end
			return
		}
		switch e.Step {
		case event.Pulling:
			s.display.Bytes(of+"pulling "+e.Item, e.Done, e.Total)
		case event.Fetching:
			s.display.Count(of+"fetching modules", e.Done, e.Total)
		case event.Compiling:
			s.display.Count(of+"compiling packages", e.Done, e.Total)
		default:
			s.display.Spin(of + e.Step.String())
		}
	}
}

// open begins the stream of build events of a command, if one is wanted.
func (s *screen) open(o *buildevents.Options, cmd *cobra.Command, name string, args []string) (err error) {
	s.command, err = o.Open(cmd, name, args, func(line string) { s.print(false, line) })
	return err
}

func (s *screen) close() { s.display.Close() }
