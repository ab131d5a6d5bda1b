package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A service that is asked to stop lets a download end, and then ends well.
func TestStopLetsDownloadsEnd(t *testing.T) {
	warmUp(t)
	s := start(t, world.warm())
	want := fetch(t, s.url+host+redisList)
	resp, err := http.Get(s.url + host + redisList)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begin := make([]byte, 1<<20)
	if _, err := io.ReadFull(resp.Body, begin); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(s.log.String(), "stopping") {
		select {
		case <-s.gone:
			t.Fatalf("it ended with a download under way: %v", s.err)
		case <-time.After(time.Millisecond):
		}
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := (answer{body: append(begin, rest...)}).digest(); got != want.digest() {
		t.Errorf("the download has the digest %s, want %s", got, want.digest())
	}
	<-s.gone
	if s.err != nil {
		t.Errorf("the service ends with %v", s.err)
	}
}

// Clients that ask and then read nothing cost a socket each: hits and builds go on, and
// memory does not grow with them.
func TestClientsThatReadNothingHoldUpNobody(t *testing.T) {
	s := start(t, warmDir(t))
	fetch(t, s.url+host+redisList)
	address := strings.TrimPrefix(s.url, "http://")
	for range 200 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s%s HTTP/1.1\r\nHost: %s\r\n\r\n", host, redisList, address)
	}
	fetch(t, s.url+host+redisList)
	fetch(t, s.url+host+"k6@v1.8.1,k6/x/two@v0.2.0")
	if peak := s.peakMemory(t); peak > 100<<20 {
		t.Errorf("k6x took %d MiB", peak>>20)
	}
}

// The programs that people have ride out a build that takes longer than --max-wait.
func TestProgramsFollowTheRounds(t *testing.T) {
	s := start(t, warmDir(t), "--max-wait", "600ms")
	for name, c := range map[string]struct {
		args []string
		list string
	}{
		"curl": {[]string{"-fsSL", "-o", "k6"}, "k6@v1.8.1,k6/x/one@v0.1.0,k6/x/two@v0.2.0"},
		"wget": {[]string{"-q", "-O", "k6"}, "k6/x/one,k6/x/redis"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program(t, name), append(c.args, s.url+host+c.list)...)
			cmd.Dir = t.TempDir()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			binary, err := os.ReadFile(filepath.Join(cmd.Dir, "k6"))
			if err != nil {
				t.Fatal(err)
			}
			if version := run(t, binary, "version"); !strings.Contains(version, "k6/x/one") {
				t.Error(version)
			}
		})
	}
	if got := s.answered(t, "waiting"); got < 2 {
		t.Errorf("only %v requests were sent round, so that this shows nothing", got)
	}
}
