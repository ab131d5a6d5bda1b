package main

import (
	"context"

	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/progress"
	"k6x/launcher/remote"
)

// download fetches the binary into the file name, checks it, and makes it executable. What
// breaks off is resumed. If it fails, the file is as it was before.
func (c *client) download(ctx context.Context, a artifact, name string, shown *progress.Display) error {
	file, err := cli.CreateOutput(name, "output")
	if err != nil {
		return err
	}
	defer file.Discard()
	transport := c.transport()
	transport.Progress = func(e remote.Event) {
		if e.Step == remote.Downloading {
			shown.Bytes("downloading", e.Done, e.Total)
		}
	}
	if _, err := transport.Download(ctx, remote.Binary{URL: a.URL, Digest: a.Checksum}, incoming{file}); err != nil {
		return err
	}
	return file.Commit()
}

// incoming is an output that a download goes to.
type incoming struct{ *cli.Output }

func (in incoming) Write(p []byte) (int, error) {
	n, err := in.Output.Write(p)
	if err != nil {
		err = in.NotWritten(err)
	}
	return n, err
}
