package bes

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k6x/event/bep"
	"k6x/event/bep/beptest"
	"k6x/event/bes/bestest"
)

// With -update the recording of Bazel is made anew, which is better done where hosts and users have names that may be known.
var update = flag.Bool("update", false, "write testdata/bazel.binary")

const recording = "../bep/beptest/testdata/bazel.binary"

// Bazel's own client and ours speak to the same server, and their streams keep the same rules.
func TestBazelStreamsToTheRecorder(t *testing.T) {
	if os.Getenv("K6X_TEST_NIGHTLY") == "" {
		t.Skip("SKIPPED: K6X_TEST_NIGHTLY=1 runs Bazel, of Debian's bazel-bootstrap")
	}
	r := &bestest.Recorder{}
	backend := r.Start(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"WORKSPACE": "",
		"BUILD": `genrule(name = "good", outs = ["good.txt"], cmd = "echo good > $@")
genrule(name = "bad", outs = ["bad.txt"], cmd = "echo why >&2; exit 3")
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bazel := func(args ...string) ([]byte, error) {
		cmd := exec.Command("bazel", append([]string{"--output_user_root=" + filepath.Join(dir, "out")}, args...)...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "USER=builder"}
		return cmd.CombinedOutput()
	}
	t.Cleanup(func() {
		if out, err := bazel("shutdown"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if out, err := exec.Command("chmod", "-R", "u+w", dir).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	out, err := bazel("build", "--keep_going", "--nosandbox_debug", "--bes_backend=grpc://"+backend, "//:good", "//:bad")
	if err == nil {
		t.Errorf("Bazel has built what cannot be built:\n%s", out)
	}
	events := r.Events(t)
	if err := beptest.Check(events); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if order := r.Order(); len(order) != 4 || !strings.HasSuffix(order[3], "COMMAND_FAILED") {
		t.Errorf("lifecycle events: %q", order)
	}
	if *update {
		var all []byte
		for _, e := range events {
			record, err := bep.Binary(e)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, record...)
		}
		if err := os.WriteFile(recording, all, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
