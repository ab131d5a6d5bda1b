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
	"sync"
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
	forFull(t)
	s := start(t, warmDir(t))
	fetch(t, s.url+host+redisList)
	address := strings.TrimPrefix(s.url, "http://")
	clients, memory := 200, int64(100<<20)
	if nightly {
		clients, memory = 2000, 200<<20
	}
	for range clients {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s%s HTTP/1.1\r\nHost: %s\r\n\r\n", host, redisList, address)
	}
	fetch(t, s.url+host+redisList)
	fetch(t, s.url+host+"k6@v1.8.1,k6/x/two@v0.2.0")
	if peak := s.peakMemory(t); peak > memory {
		t.Errorf("k6x took %d MiB", peak>>20)
	}
}

// The programs that people have ride out a build that takes longer than --max-wait.
func TestProgramsFollowTheRounds(t *testing.T) {
	t.Parallel()
	commands := map[string][]string{"curl": {"-fsSL", "-o", "k6"}, "wget": {"-q", "-O", "k6"}}
	for name := range commands {
		program(t, name)
	}
	flags, list, open := gate(t)
	s := start(t, warmDir(t), append(flags, "--max-wait", "4s")...)
	digests := make(chan string, len(commands))
	var wg sync.WaitGroup
	for name, args := range commands {
		dir := t.TempDir()
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), name, append(args, s.url+host+list)...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
				return
			}
			got, err := os.ReadFile(filepath.Join(dir, "k6"))
			if err != nil {
				t.Error(err)
				return
			}
			digests <- answer{body: got}.digest()
		})
	}
	eventually(t, "each program is sent round", func() bool { return s.answered(t, "waiting") >= len(commands) })
	open()
	wg.Wait()
	close(digests)
	want := fetch(t, s.url+host+list).digest()
	for got := range digests {
		if got != want {
			t.Errorf("a program has %s, want %s", got, want)
		}
	}
}
