package main

import (
	"context"

	"k6x/launcher/remote"
)

// download fetches the binary into the file name, checks it, and makes it executable. What
// breaks off is resumed. If it fails, the file is as it was before.
func (c *client) download(ctx context.Context, a artifact, name string, shown *bar) error {
	file, err := createOutput(name)
	if err != nil {
		return err
	}
	defer file.discard()
	transport := c.transport()
	transport.Progress = func(e remote.Event) {
		if e.Step == remote.Downloading {
			shown.set(e.Done, e.Total)
		}
	}
	if _, err := transport.Download(ctx, remote.Binary{URL: a.URL, Digest: a.Checksum}, incoming{file}); err != nil {
		return err
	}
	return file.commit()
}

// incoming is an output that a download goes to.
type incoming struct{ *output }

func (in incoming) Write(p []byte) (int, error) {
	n, err := in.output.Write(p)
	if err != nil {
		err = notWritten(in.name, err)
	}
	return n, err
}
