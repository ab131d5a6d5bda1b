package launcher

import (
	"context"
	"os"

	"k6x"
	"k6x/launcher/remote"
)

// Service is a Source that asks a builder service. Dial is called by Open and says where it is.
type Service struct {
	Dial func() (*remote.Client, error)

	client *remote.Client
}

var _ Source = (*Service)(nil)

// Name is "service".
func (*Service) Name() string { return "service" }

// Open finds out where the service is. Whether it answers is for Resolve to say.
func (s *Service) Open(context.Context) (err error) {
	s.client, err = s.Dial()
	return err
}

// Resolve follows the redirects of the service.
func (s *Service) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	return s.client.Name(ctx, platform, list)
}

// Fetch has the binary built and downloads it.
func (s *Service) Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error {
	made, err := s.client.Resolve(ctx, platform, pinned)
	if err == nil {
		_, err = s.client.Download(ctx, made, file)
	}
	return err
}

// Close does nothing.
func (*Service) Close() error { return nil }
