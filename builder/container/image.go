package container

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/event"
	"k6x/gotool"
)

// goImage is an image to build in.
type goImage struct {
	id        string
	toolchain string   // such as go1.26.8
	root      string   // GOROOT
	env       []string // that a container of it has
}

// image returns the image, which is pulled if it is not there. What is in an image is asked
// once.
func (e *Engine) image(ctx context.Context, report event.Sink) (goImage, error) {
	var found client.ImageInspectResult
	inspect := func(ctx context.Context) (err error) {
		found, err = e.client.ImageInspect(ctx, e.cfg.Image)
		return err
	}
	err := e.call(ctx, "looking for the image", inspect)
	if cerrdefs.IsNotFound(err) {
		if err := e.pull(ctx, report); err != nil {
			return goImage{}, err
		}
		err = e.call(ctx, "looking for the image", inspect)
	}
	if err != nil {
		return goImage{}, err
	}
	image := goImage{id: found.ID}
	if found.Config != nil {
		image.env = found.Config.Env
	}
	e.mu.Lock()
	seen, ok := e.images[image.id]
	e.mu.Unlock()
	if ok {
		return seen, nil
	}
	if err := e.ask(ctx, &image); err != nil {
		return goImage{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[image.id] = image
	return image, nil
}

// ask asks the go command of an image about itself.
func (e *Engine) ask(ctx context.Context, image *goImage) error {
	result, err := e.run(ctx, job{
		image:   *image,
		command: limited(time.Minute, "go", "env", "-json", "GOVERSION", "GOROOT"),
		limit:   time.Minute,
	})
	if ctx.Err() != nil {
		return gobuild.Stopped(ctx, err)
	}
	if err != nil {
		return err
	}
	var said struct{ GOVERSION, GOROOT string }
	if result.exit != 0 {
		return e.badImage("its go command does not work").
			WithCause(fmt.Errorf("go env ended with %d: %s", result.exit, firstLine(result.output)))
	}
	if err := json.Unmarshal([]byte(result.stdout), &said); err != nil {
		return e.badImage("its go command says nothing about itself").WithCause(err)
	}
	if !gotool.IsRelease(said.GOVERSION) {
		return e.badImage("its Go is version %q, which is not a release", said.GOVERSION)
	}
	image.toolchain, image.root = said.GOVERSION, path.Clean("/"+strings.TrimSpace(said.GOROOT))
	return nil
}

// badImage returns the error for an image that is not fit to build in.
func (e *Engine) badImage(format string, args ...any) *k6x.Error {
	return k6x.Errorf(k6x.Invalid, "nothing can be built in the image %s: %s", e.cfg.Image, fmt.Sprintf(format, args...)).
		WithHint("It needs go, sh and timeout, as the images called golang have them, such as %s.", DefaultImage)
}
