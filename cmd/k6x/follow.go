package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/internal/disk"
)

const (
	followWait  = 30 * time.Second // that a service waits for news before it answers
	followPause = 10 * time.Second // until a service that went away is asked again
)

// follower are the flags of k6x follow.
type follower struct {
	options
	state string
	since int64
	once  bool
}

func newFollowCommand() *cobra.Command {
	var o follower
	cmd := &cobra.Command{
		Use:   "follow [flags] [URL]",
		Short: "Print what happens at a service, as it happens",
		Long: `Print what happens at a builder service, as it happens, from the first entry that it keeps, each as a
line of JSON with a number: builds that ended, and versions that were seen. With --state it goes on
where it was when it ended; what was printed in the moment of an end by force may come once more, and
nothing is left out: if the service does not keep the next entry any more, or has fewer entries, that
is an error. The URL is that of the service.`,
		Example: `  k6x follow --state builds.state https://builds.example.com >> builds.jsonl`,
		Args:    cobra.MaximumNArgs(1),
		RunE:    o.shown(o.follow),
	}
	f := cmd.Flags()
	f.StringVar(&o.state, "state", "", "`file` that has the number of the last entry that was printed")
	f.Int64Var(&o.since, "since", 0, "`number` of an entry: print those behind it; a file of --state says better")
	f.BoolVar(&o.once, "once", false, "print what there is, and end")
	o.addService(f)
	return cmd
}

func (o *follower) follow(cmd *cobra.Command, args []string, shown *screen) error {
	ctx := cmd.Context()
	service, err := o.of(ctx, args, nil, shown)
	if err != nil {
		return err
	}
	since, err := o.start()
	if err == nil {
		err = o.save(since) // it is told before anything is printed that this cannot be done
	}
	if err != nil {
		return err
	}
	wait := time.Duration(0) // until it is known that the service has entries up to there
	for heard := false; ; {
		asked := time.Now()
		last, err := service.Changes(ctx, since, wait, func(line string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), line)
			return err
		})
		news := last > since
		if since = last; news {
			if err := o.save(since); err != nil {
				return err
			}
		}
		pause := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!heard || !passing(err)):
			return err
		case err != nil:
			pause = followPause
			shown.retrying(err, pause)
		case o.once && !news:
			return nil
		case !news && time.Since(asked) < time.Second: // a service that is about to stop waits for nothing
			pause = time.Second
		}
		if heard = true; !o.once {
			wait = followWait
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// passing reports whether an error of a service that has answered before may be gone some time.
func passing(err error) bool {
	kind := k6x.KindOf(err)
	return kind == k6x.Unavailable || kind == k6x.Busy || kind == k6x.Quota
}

// start returns the number of the entry to begin behind.
func (o *follower) start() (int64, error) {
	if o.state == "" {
		return o.since, nil
	}
	file, err := os.Open(o.state)
	if errors.Is(err, fs.ErrNotExist) {
		return o.since, nil
	}
	var text []byte
	if err == nil {
		defer file.Close()
		text, err = io.ReadAll(io.LimitReader(file, 64))
	}
	if err != nil {
		return 0, k6x.Errorf(k6x.Invalid, "the file of --state cannot be read: %w", err)
	}
	number, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || number < 0 {
		return 0, k6x.Errorf(k6x.Invalid, "%s is not a file that k6x follow --state has written", o.state).WithHint("Name another one, or remove it to begin at --since.")
	}
	return number, nil
}

// save writes the number of the last entry that was printed.
func (o *follower) save(number int64) error {
	if o.state == "" {
		return nil
	}
	err := disk.FS{}.WriteAtomic(disk.Atomic{Name: o.state, Mode: 0o644, Sync: true}, fmt.Appendln(nil, number))
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "the file of --state cannot be written: %w", err)
	}
	return nil
}
