package remote

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// lossy is a way to a NATS on which each message passes as often as the function says of its subject.
func lossy(t *testing.T, to string, times func(subject string) int) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go passMessages(in, out, times)
			go passMessages(out, in, times)
		}
	}()
	return listener.Addr().String()
}

// passMessages passes on what the protocol of NATS has: lines, of which those of messages end with the number of bytes that follow.
func passMessages(to, from net.Conn, times func(subject string) int) {
	defer to.Close()
	for r := bufio.NewReader(from); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		n, words := 1, strings.Fields(string(line))
		if len(words) > 2 && strings.Contains("PUB HPUB MSG HMSG", words[0]) {
			size, _ := strconv.Atoi(words[len(words)-1])
			body := make([]byte, size+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			n, line = times(words[1]), append(line, body...)
		}
		if _, err := to.Write(bytes.Repeat(line, n)); err != nil {
			return
		}
	}
}

// Orders are lost, then answers, and all else comes twice: that costs time, and nothing is built twice or taken for another.
func TestMessagesAreLostAndComeTwice(t *testing.T) {
	t.Parallel()
	as := startNATS(t, "w1")
	var mu sync.Mutex                           // guards what follows
	orders, answers := 0, make(map[string]bool) // whether those of a subject are lost
	addr := lossy(t, strings.Split(as("w1"), "@")[1], func(subject string) int {
		mu.Lock()
		defer mu.Unlock()
		if _, known := answers[subject]; !known && strings.HasPrefix(subject, inbox("w1")) {
			answers[subject] = len(answers)%3 == 1
		}
		if subject == toWorker("w1") {
			orders++
		}
		if answers[subject] || subject == toWorker("w1") && orders < 4 { // of which one is to stop
			return 0
		}
		return 2
	})
	r := newRig(t, func(r *rig) {
		r.nats = func(user string) string {
			if user == "w1" {
				return "nats://w1:p@" + addr
			}
			return as(user)
		}
	})
	w := r.work("w1", 2, nil)
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	lost := strings.Count(r.log.String(), "a build was lost by its worker") // two, unless the machine is slow
	if int(w.builds.Load()) != lost-1 || len(answers) < 10 || r.working("w1").State != "idle" {
		t.Errorf("%d builds, %d orders, %d answers: %+v", w.builds.Load(), orders, len(answers), r.working("w1"))
	}
}
