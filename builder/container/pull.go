package container

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/event"
	"k6x/internal/disk"
)

const (
	stallTime = 3 * time.Minute // without any news of a pull
	maxLayers = 1000            // whose progress is added up
)

var errStalled = errors.New("nothing was heard of the pull for a while")

// pull fetches the image.
func (e *Engine) pull(ctx context.Context, report event.Sink) error {
	e.log.Info("pulling an image", "image", e.cfg.Image)
	report.Progress(event.Pulling, e.cfg.Image, 0, 0)
	pulling, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallTime, func() { cancel(errStalled) })
	defer stall.Stop()

	stream, err := e.client.ImagePull(pulling, e.cfg.Image, client.ImagePullOptions{})
	if err != nil {
		return e.pullError(ctx, pulling, err)
	}
	defer stream.Close()
	layers := make(map[string]jsonstream.Progress)
	for message, err := range stream.JSONMessages(pulling) {
		stall.Reset(stallTime)
		if err == nil && message.Error != nil {
			err = message.Error
		}
		if err != nil {
			return e.pullError(ctx, pulling, err)
		}
		if message.Progress == nil || message.Status != "Downloading" {
			continue
		}
		if _, ok := layers[message.ID]; ok || len(layers) < maxLayers {
			layers[message.ID] = *message.Progress
		}
		var done, total int64
		for _, layer := range layers {
			done += layer.Current
			total += layer.Total
		}
		report.Progress(event.Pulling, e.cfg.Image, done, total)
	}
	return nil
}

// How daemons and registries say what went wrong, which has no other form once a pull has begun.
var (
	noImage = regexp.MustCompile(`(?i)manifest unknown|not found|no such image|name unknown`)
	noLogin = regexp.MustCompile(`(?i)denied|unauthorized|authentication required|forbidden`)
)

// pullError returns the error for a pull, which had the context pulling, that failed with err.
func (e *Engine) pullError(ctx, pulling context.Context, err error) error {
	said := firstLine(err.Error())
	switch {
	case ctx.Err() != nil:
		return gobuild.Stopped(ctx, err)
	case errors.Is(context.Cause(pulling), errStalled):
		return k6x.Errorf(k6x.Unavailable, "the download of the image %s has stalled", e.cfg.Image).
			WithHint("Try again a little later.").WithCause(err)
	case disk.IsFull(err), noSpaceLeft(said):
		return noRoom().WithCause(err)
	case cerrdefs.IsUnauthorized(err), cerrdefs.IsPermissionDenied(err), noLogin.MatchString(said):
		return k6x.Errorf(k6x.Unavailable, "the image %s does not exist, or needs a login: %s", e.cfg.Image, said).
			WithHint("Check its name, or pull it yourself, with docker pull or podman pull.").WithCause(err)
	case cerrdefs.IsNotFound(err), noImage.MatchString(said):
		return k6x.Errorf(k6x.Unavailable, "there is no image %s: %s", e.cfg.Image, said).
			WithHint("Check its name.").WithCause(err)
	case cerrdefs.IsInvalidArgument(err), strings.Contains(said, "invalid reference format"):
		return k6x.Errorf(k6x.Invalid, "%q is no name of an image", e.cfg.Image).WithCause(err)
	}
	return k6x.Errorf(k6x.Unavailable, "the image %s cannot be downloaded now: %s", e.cfg.Image, said).
		WithHint("Check the network of the machine that runs the containers, or pull it yourself.").WithCause(err)
}
