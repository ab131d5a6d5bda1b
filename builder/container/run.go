package container

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"k6x/internal/cage"
)

const (
	maxOutput  = 1 << 20          // bytes kept of what a command prints
	maxPids    = 1 << 14          // threads of a container
	removeTime = 30 * time.Second // for its removal
	killedExit = 137              // of a command that got SIGKILL
)

// job is one command to run in a container.
type job struct {
	image   goImage
	command []string
	env     []string                      // comes after what goEnv sets
	files   map[string]string             // the main module, for dir; nil: none
	dir     string                        // in the container, to work in
	into    string                        // on this machine, for the binary
	limit   time.Duration                 // how long the container may be needed
	volume  string                        // "": none
	live    func(line string) (kill bool) // gets lines as they come; may be nil
}

// result is what came of a job.
type result struct {
	exit   int
	stdout string            // as far as it is kept
	output string            // stdout and stderr
	text   map[string]string // the small files that it left in its dir
}

// run runs a job. If it has files, those that it leaves next to them are fetched. Once run has
// returned, the container is gone.
func (e *Engine) run(ctx context.Context, j job) (result, error) {
	strict := !e.lax.Load()
	r, refused, err := e.runOnce(ctx, j, strict)
	if !refused || !strict {
		return r, err
	}
	// Some daemons may not limit what a container uses, and say so only now.
	r, refused, again := e.runOnce(ctx, j, false)
	if refused {
		return r, err
	}
	e.log.Warn("builds run without limits, as the container engine refuses them", "err", err)
	e.lax.Store(true)
	return r, again
}

// runOnce runs a job. Refused says that the daemon did not make or start the container, so that nothing has run.
func (e *Engine) runOnce(ctx context.Context, j job, strict bool) (r result, refused bool, err error) {
	id, err := e.create(ctx, j, strict)
	if err != nil {
		return r, true, err
	}
	defer e.remove(ctx, id)
	if err := e.sendFiles(ctx, id, j); err != nil {
		return r, false, err
	}
	if err := e.call(ctx, "starting a container", func(ctx context.Context) error {
		_, err := e.client.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	}); err != nil {
		return r, true, err
	}
	heard := false
	if j.live != nil {
		heard = e.follow(ctx, id, j.live)
	}
	r.exit, err = e.wait(ctx, id)
	if logErr := e.readLog(ctx, id, &r); err == nil {
		err = logErr
	}
	if j.live != nil && !heard { // late is better than never: an error may depend on it
		for line := range strings.Lines(r.output) {
			j.live(strings.TrimSuffix(line, "\n"))
		}
	}
	if err == nil && len(j.files) > 0 {
		r.text, err = e.fetchFiles(ctx, id, j)
	}
	return r, false, err
}

// call does one thing with the daemon, which has to be done soon.
func (e *Engine) call(ctx context.Context, doing string, do func(context.Context) error) error {
	timed, stop := context.WithTimeoutCause(ctx, callTime, errSilent)
	defer stop()
	if err := do(timed); err != nil {
		return e.daemonError(timed, doing, err)
	}
	return nil
}

// create makes the container of a job. It has no rights but those that root has over its own
// files, which is what the volume's are.
func (e *Engine) create(ctx context.Context, j job, strict bool) (id string, err error) {
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(e.cfg.Network),
		CapDrop:     []string{"ALL"},
		SecurityOpt: []string{"no-new-privileges"},
		LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}}, // which can be read
	}
	if strict {
		pids := int64(maxPids)
		host.PidsLimit = &pids
	}
	if j.volume != "" {
		host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: j.volume, Target: cacheDir}}
	}
	config := &container.Config{
		Image:      j.image.id,
		Entrypoint: j.command[:1], // instead of that of the image
		Cmd:        j.command[1:],
		Env:        goEnv(j.image.env, j.env),
		User:       "0:0",
		WorkingDir: "/",
		Labels:     map[string]string{label: strconv.Itoa(int(j.limit / time.Second))},
	}
	if len(j.files) > 0 {
		config.WorkingDir = j.dir
	}
	err = e.call(ctx, "making a container", func(ctx context.Context) error {
		made, err := e.client.ContainerCreate(ctx, client.ContainerCreateOptions{Config: config, HostConfig: host})
		id = made.ID
		return err
	})
	return id, err
}

// follow gives live the lines of a container that was started, as they come, until it ends or
// ctx does. If live returns true the container is killed. Not every daemon lets one listen before
// the start, so it may miss those of a container that ends soon; it reports whether it heard any.
func (e *Engine) follow(ctx context.Context, id string, live func(string) (kill bool)) (heard bool) {
	stream, err := e.client.ContainerAttach(ctx, id, client.ContainerAttachOptions{Logs: true, Stream: true, Stdout: true, Stderr: true})
	if err != nil { // it may have ended
		e.log.Debug("a container cannot be listened to", "container", id, "err", err)
		return false
	}
	defer context.AfterFunc(ctx, stream.Close)()
	defer stream.Close()
	killed := false
	out := &cage.Output{Max: 2, Line: func(line string) {
		heard = true
		if live(line) && !killed {
			killed = true
			if _, err := e.client.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
				e.log.Warn("a container cannot be killed", "container", id, "err", err)
			}
		}
	}}
	_, _ = stdcopy.StdCopy(out, out, stream.Reader) // when it breaks off there is still the log
	return heard
}

// readLog reads what a container has printed; also if the build's time is up, as far as it
// came.
func (e *Engine) readLog(ctx context.Context, id string, r *result) error {
	if ctx.Err() != nil && context.Cause(ctx) != errTimeout {
		return nil
	}
	ctx, stop := context.WithTimeoutCause(context.WithoutCancel(ctx), callTime, errSilent)
	defer stop()
	log, err := e.client.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return e.daemonError(ctx, "reading the output", err)
	}
	defer log.Close()
	stdout, all := &cage.Output{Max: maxOutput}, &cage.Output{Max: maxOutput}
	if _, err := stdcopy.StdCopy(io.MultiWriter(stdout, all), all, log); err != nil {
		return e.daemonError(ctx, "reading the output", err)
	}
	r.stdout, r.output = stdout.String(), all.String()
	return nil
}

// wait returns the exit code of a container that was started. Some versions of Podman spend much
// time on it unless the container has ended.
func (e *Engine) wait(ctx context.Context, id string) (exit int, err error) {
	ended := e.client.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case answer := <-ended.Result:
		return int(answer.StatusCode), nil
	case err := <-ended.Error:
		return 0, e.daemonError(ctx, "building", err)
	case <-ctx.Done():
		return 0, e.daemonError(ctx, "building", ctx.Err())
	}
}

// remove ends and removes a container, also if ctx has ended.
func (e *Engine) remove(ctx context.Context, id string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer stop()
	if _, err := e.client.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
		e.log.Error("a container cannot be removed", "container", id, "err", err)
	}
}
