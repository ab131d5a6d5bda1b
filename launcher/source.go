package launcher

import (
	"context"
	"os"
	"time"

	"k6x"
	"k6x/client"
	"k6x/event"
)

// Source is where binaries come from.
type Source struct {
	Name string // as in --builder

	// Open gets ready. An error says why this source cannot be used: something is not set up, not
	// installed or not running.
	Open func(ctx context.Context) (Builder, error)
}

// Builder gives binaries until it is closed.
type Builder interface {
	// Resolve returns the versions that list has now. Nothing is built.
	Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error)

	// Fetch writes the binary of a pinned list to file, which is empty.
	Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error

	Close() error
}

// Service is a Builder that asks a builder service. Whether that answers is for Resolve to say.
type Service struct {
	*client.Client

	// Permit returns an error unless a list may be asked for. Nil: all may.
	Permit func(ctx context.Context, list k6x.List) error

	Warn func(warning string) // takes what there is to say against a binary; may be nil

	Report event.Sink // takes an event of type Progress for each binary that was downloaded, whose Item is its URL; may be nil
}

var _ Builder = Service{}

// Resolve asks the service.
func (s Service) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	if s.Permit != nil {
		if err := s.Permit(ctx, list); err != nil {
			return nil, err
		}
	}
	return s.Client.Resolve(ctx, platform, list)
}

// Fetch downloads the binary, which the service builds if need be.
func (s Service) Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error {
	b, err := s.Client.Fetch(ctx, platform, pinned, file)
	warn(s.Warn, b.Warnings)
	if err == nil {
		s.Report.Send(event.Event{Path: pinned.Path(platform), Time: time.Now().UTC(), Type: event.Progress, Step: event.Fetching, Item: b.URL, Done: b.Size, Total: b.Size})
	}
	return err
}

func warn(to func(string), warnings []string) {
	for _, warning := range warnings {
		if to != nil {
			to(warning)
		}
	}
}

// Close does nothing.
func (Service) Close() error { return nil }
