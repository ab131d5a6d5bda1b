package native

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"k6x/internal/disk"
)

// A linker whose output is there may fail still, or change it.
func TestLinkIsOverOnceTheLinkerHasEnded(t *testing.T) {
	const output = "#!/bin/sh\necho binary >k6.out\n"
	const waits = "for i in $(seq 3000); do [ -e tmp/go ] && break; sleep 0.01; done; >tmp/over\n"
	closed, stop := disk.WatchClose(filepath.Join(t.TempDir(), "file"))
	if stop(); closed == nil {
		t.Skip("SKIPPED: the system does not tell, as too many are watching")
	}
	for _, c := range []struct{ name, script, err string }{
		{"ends", waits, ""},
		{"fails", waits + "echo oh >&2; exit 2", "oh"},
		{"writes more", waits + "echo more >>k6.out", "after the linker had closed it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ws := linkerWorkspace(t, output+c.script)
			exit, err := ws.Link(t.Context(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(ws.Output()); string(data) != "binary\n" || err != nil {
				t.Errorf("the output is %q, %v", data, err)
			}
			over := make(chan error, 1)
			go func() {
				err := exit()
				if _, running := os.Stat(filepath.Join(ws.Temp(), "over")); running != nil {
					t.Errorf("it is over before the linker has ended: %v", running)
				}
				over <- err
			}()
			if err := os.WriteFile(filepath.Join(ws.Temp(), "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := <-over; (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	ws := linkerWorkspace(t, "#!/bin/sh\necho oh >&2; exit 2\n")
	if _, err := ws.Link(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "oh") {
		t.Errorf("a linker that writes nothing: %v", err)
	}
}

// linkerWorkspace returns a workspace whose linker is a script.
func linkerWorkspace(t *testing.T, script string) *Workspace {
	t.Helper()
	e := newEngine(t, Config{Dir: emptyDir(t)})
	ws, err := e.newWorkspace(e.recipe("v1.0.0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ws.Close)
	tool := *e.Tool
	tool.Root = t.TempDir()
	e.Tool = &tool
	tools := filepath.Join(tool.Root, "pkg", "tool", runtime.GOOS+"_"+runtime.GOARCH)
	if err := os.MkdirAll(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tools, "link"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return ws
}
