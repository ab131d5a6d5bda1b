package buildevents

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/event/bep"
	"k6x/event/bes"
	"k6x/internal/disk"
)

// Command is the stream of one command. Nil is none: its methods do nothing.
type Command struct {
	options *Options
	cfg     bep.Config
	print   func(line string)
	sinks   []bep.Sink
	files   []*bep.File
	client  *bes.Client
	stream  *bes.Stream
	inv     *bep.Invocation   // nil before Start
	binary  map[string]string // files, by canonical path
}

// Open gets ready for the stream of a command, by its name and its arguments, of which secrets are left out: it creates the files. It returns
// nil if no stream is wanted. What has to be said of it goes to print.
//
// Errors: a [cli.UsageError] for what flags name that cannot be used.
func (o *Options) Open(cmd *cobra.Command, name string, args []string, print func(line string)) (_ *Command, err error) {
	if o.files == [3]string{} && o.backend.Backend == "" {
		return nil, nil
	}
	c := &Command{options: o, print: print, binary: make(map[string]string)}
	dir, _ := os.Getwd() // it may be gone
	c.cfg = bep.Config{
		ID: uuid.NewString(), Program: cmd.Root().Name(), Command: name, Version: cli.Version(), Args: bep.RedactArgs(args), Dir: dir,
		Metadata:  map[string]string{"version": cli.Version()},
		Status:    map[string]string{"BUILD_TIMESTAMP": time.Now().UTC().Format(time.RFC3339)},
		BinaryURL: func(path string) string { return c.binary[path] },
	}
	cmd.Flags().Visit(func(f *pflag.Flag) { c.cfg.Options = append(c.cfg.Options, options(f)...) })
	for i, name := range o.files { // before a file is emptied
		if name != "" && slices.Contains(o.files[:i], name) {
			return nil, cli.Usage(fmt.Errorf("--%s: another format goes to %s", formats[i].flag, name))
		}
	}
	if c.client, err = o.dial(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = c.close()
		}
	}()
	for i, name := range o.files {
		if name == "" {
			continue
		}
		file, err := bep.Create(name, formats[i].format)
		if err != nil {
			return nil, cli.Usage(k6x.Errorf(k6x.Invalid, "the file of --%s cannot be written: %w", formats[i].flag, err))
		}
		c.files, c.sinks = append(c.files, file), append(c.sinks, file.Publish)
	}
	return c, nil
}

// options returns a flag as often as it was given.
func options(f *pflag.Flag) (all []bep.Option) {
	values := []string{f.Value.String()}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		values = list.GetSlice()
	}
	for _, value := range values {
		all = append(all, bep.Redact(f.Name, value))
	}
	return all
}

// Start begins the stream: pattern is what the command was asked for.
func (c *Command) Start(pattern ...string) {
	if c == nil || c.inv != nil {
		return
	}
	if c.client != nil {
		c.stream = c.client.Open(uuid.NewString(), c.cfg.ID)
		c.sinks = append(c.sinks, c.stream.Publish)
		if link := c.options.results(c.cfg.ID); link != "" {
			c.print("build results: " + link)
		}
	}
	c.cfg.Pattern = pattern
	c.inv = bep.Start(c.cfg, bep.Tee(c.sinks...))
}

// Resolved says what the pattern means: canonical paths.
func (c *Command) Resolved(paths ...string) {
	if c != nil {
		c.inv.Resolved(paths...)
	}
}

// Sink takes the events of builds; nil if none are wanted. Their ends are for the command to tell.
func (c *Command) Sink() event.Sink {
	if c == nil {
		return nil
	}
	return func(e event.Event) {
		switch e.Type {
		case event.Resolved:
			c.inv.Resolved(e.Path)
		case event.Stored, event.Failed:
		default:
			c.inv.Publish(e)
		}
	}
}

// Built says that the binary of a path was made, which is not kept, or why it was not.
func (c *Command) Built(path string, err error) {
	if c == nil {
		return
	}
	e := event.Event{Path: path, Time: time.Now().UTC(), Type: event.Stored}
	if err != nil {
		e.Type, e.Failure = event.Failed, k6x.AsError(err)
	}
	c.inv.Publish(e)
}

// Stored says that the binary of a canonical path is in a file.
func (c *Command) Stored(ctx context.Context, path, file string) {
	if c == nil {
		return
	}
	e := event.Event{Path: path, Time: time.Now().UTC(), Type: event.Stored}
	c.inv.Resolved(path)
	if full, err := filepath.Abs(file); err == nil {
		c.binary[path] = cli.FileURL(full)
	}
	e.Digest, e.Size, _ = disk.DigestFile(ctx, file) // that it cannot be read is said where it is used
	c.inv.Publish(e)
}

// Finish ends the stream of a command that ends with err, and returns that. A command that has done its work fails if a file was not
// written, or, without best effort, if the backend did not take all.
func (c *Command) Finish(ctx context.Context, err error) error {
	if c == nil {
		return err
	}
	c.Start()
	code := cli.ExitOK
	if err != nil {
		code = cli.ExitFailure
		if _, ok := errors.AsType[*cli.UsageError](err); ok {
			code = cli.ExitUsage
		}
		if ctx.Err() != nil {
			c.inv.Finish(code, k6x.Errorf(k6x.Canceled, "the command was interrupted"))
		}
	}
	c.inv.Finish(code, err)
	var lost error
	if c.stream != nil {
		if lost = c.options.closeStream(context.WithoutCancel(ctx), c.stream); lost != nil && (c.options.bestEffort || err != nil) {
			c.print(lost.Error())
			lost = nil
		}
	}
	if closeErr := c.close(); closeErr != nil {
		lost = errors.Join(lost, k6x.Errorf(k6x.Internal, "a file of build events is not whole: %w", closeErr))
	}
	if err == nil {
		return lost
	}
	if lost != nil {
		c.print(lost.Error())
	}
	return err
}

func (c *Command) close() (err error) {
	for _, f := range c.files {
		err = errors.Join(err, f.Close())
	}
	if c.client != nil {
		err = errors.Join(err, c.client.Close())
	}
	return err
}
