package clitest

import (
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"k6x/event/bep"
	"k6x/event/bep/beptest"
)

// Events is a testscript command: FILE checks that a file of build events in JSON, or the only one of a directory, has a whole stream, which it
// writes to stdout.
func Events(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: events FILE")
	}
	name := ts.MkAbs(args[0])
	if files, err := filepath.Glob(filepath.Join(name, "*.json")); err == nil && len(files) > 0 {
		if name = files[0]; len(files) > 1 {
			ts.Fatalf("%d files", len(files))
		}
	}
	data, err := os.Open(name)
	ts.Check(err)
	defer data.Close()
	events, err := bep.ReadJSON(data)
	ts.Check(err)
	ts.Check(beptest.Check(events))
	for _, e := range events {
		line, err := bep.JSON(e)
		ts.Check(err)
		_, err = ts.Stdout().Write(line)
		ts.Check(err)
	}
}
