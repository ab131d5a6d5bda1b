package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/internal/disk"
)

// callTime is for a daemon to do one thing that is not a build or a download.
const callTime = 2 * time.Minute

var errSilent = errors.New("the container engine does not answer")

// daemonError returns the error for a call of the daemon that failed with err; doing says what
// for. If err says that something is not there, it is the cause.
func (e *Engine) daemonError(ctx context.Context, doing string, err error) error {
	said := firstLine(err.Error())
	switch {
	case errors.Is(context.Cause(ctx), errSilent):
		return k6x.Errorf(k6x.Unavailable, "the container engine at %s does not answer while %s", redacted(e.Host()), doing).
			WithHint("It may be busy or may have to be restarted.").WithCause(err)
	case ctx.Err() != nil:
		return gobuild.Stopped(ctx, err)
	case disk.IsFull(err), noSpaceLeft(said):
		return noRoom().WithCause(err)
	case client.IsErrConnectionFailed(err):
		return k6x.Errorf(k6x.Unavailable, "the container engine at %s is not there any more", redacted(e.Host())).WithCause(err)
	}
	return k6x.Errorf(k6x.Unavailable, "the container engine failed while %s: %s", doing, said).WithCause(err)
}

// badAnswer returns the error for what comes out of a container and cannot be right.
func badAnswer(format string, args ...any) *k6x.Error {
	return k6x.Errorf(k6x.Unavailable, "the container engine did not give what was built: %s", fmt.Sprintf(format, args...)).
		WithHint("Try again.")
}

func noSpaceLeft(text string) bool {
	return strings.Contains(text, "no space left on device") || strings.Contains(text, "quota exceeded")
}

func noRoom() *k6x.Error {
	return k6x.Errorf(k6x.NoSpace, "there is no room left on the disk of the container engine").
		WithHint("Make room there, for example with docker system prune or podman system prune.")
}

// firstLine returns the beginning of what a daemon says, fit for a message.
func firstLine(text string) string {
	const most = 300
	line, _, _ := strings.Cut(strings.TrimPrefix(text, "Error response from daemon: "), "\n")
	line = strings.ReplaceAll(k6x.Printable(line), "\t", " ")
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
