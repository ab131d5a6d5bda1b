package launcher

import (
	"context"
	"os"

	"k6x"
	"k6x/client"
)

// Service is a Source that asks a builder service. Dial is called by Open and says where it is.
type Service struct {
	Dial func() (*client.Client, error)

	client *client.Client
}

var _ Source = (*Service)(nil)

// Name is "service".
func (*Service) Name() string { return "service" }

// Open finds out where the service is. Whether it answers is for Resolve to say.
func (s *Service) Open(context.Context) (err error) {
	s.client, err = s.Dial()
	return err
}

// Resolve asks the service.
func (s *Service) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	return s.client.Resolve(ctx, platform, list)
}

// Fetch downloads the binary, which the service builds if need be.
func (s *Service) Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error {
	_, err := s.client.Fetch(ctx, platform, pinned, file)
	return err
}

// Close does nothing.
func (*Service) Close() error { return nil }
