package egress

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
)

// tunnel relays between two pipes, for a host of that name, and returns their other ends and what tells that it is over.
func tunnel(t *testing.T, p *Proxy, host string) (client, server net.Conn, over <-chan struct{}) {
	t.Helper()
	client, near := net.Pipe()
	far, server := net.Pipe()
	target, err := p.policy.target(host + ":443")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.relay(t.Context(), target, near, bufio.NewReader(near), far)
	}()
	return client, server, ended
}

func pass(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	go func() { _, _ = io.WriteString(from, text) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Errorf("%q passed, want %q: %v", got, text, err)
	}
}

func testProxy() *Proxy {
	return newProxy([]string{"GOPROXY=https://proxy.example", "GOPRIVATE=private.example"}, slog.New(slog.DiscardHandler))
}

func admitted(p *Proxy, host string) bool {
	t, err := p.policy.target(host + ":443")
	return err == nil && p.admit(t) == nil
}

func TestHostThatDoesNotAnswerIsLeftAloneForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testProxy()
		for _, host := range []string{"slow.example", "private.example"} {
			start := time.Now()
			client, server, over := tunnel(t, p, host)
			pass(t, client, server, "hello")
			<-over
			if took := time.Since(start); took != time.Minute {
				t.Errorf("%s is waited for %v, want a minute", host, took)
			}
			target, _ := p.policy.target(host + ":8443")
			err := k6x.AsError(p.admit(target))
			if err.Kind != k6x.Unavailable || !strings.Contains(err.Message, host+" did not answer") || err.RetryAfter != 10*time.Minute {
				t.Errorf("%v, %v, %v", err.Kind, err, err.RetryAfter)
			}
			if !admitted(p, "other.example") {
				t.Error("another host is left alone, too")
			}
			time.Sleep(10*time.Minute - time.Second)
			if admitted(p, host) {
				t.Errorf("%s is not left alone for ten minutes", host)
			}
			time.Sleep(time.Second)
			if !admitted(p, host) {
				t.Errorf("%s is left alone for more than ten minutes", host)
			}
		}
	})
}

func TestClientThatGivesUpOnASilentHostTellsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testProxy()
		for wait, want := range map[time.Duration]bool{10 * time.Second: false, time.Second: true} { // as a go command waits for TLS, and a canceled build
			host := "slow.example"
			p.hosts.Purge()
			client, server, over := tunnel(t, p, host)
			pass(t, client, server, "hello")
			time.Sleep(wait)
			client.Close()
			<-over
			if admitted(p, host) != want {
				t.Errorf("after %v: admitted %v, want %v", wait, !want, want)
			}
		}
	})
}

func TestModuleProxiesAreNotLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testProxy()
		client, server, over := tunnel(t, p, "proxy.example")
		pass(t, client, server, "hello")
		<-over
		if !admitted(p, "proxy.example") || p.Explain("proxy.example") != nil {
			t.Error("a module proxy that was silent once is left alone")
		}
	})
}

func TestConnectionWithProgressLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testProxy()
		client, server, over := tunnel(t, p, "slow.example")
		for range 5 {
			pass(t, client, server, "more")
			time.Sleep(50 * time.Second)
			pass(t, server, client, "data")
			time.Sleep(50 * time.Second)
		}
		select {
		case <-over:
			t.Error("it was ended")
		default:
		}
		client.Close()
		<-over
		if !admitted(p, "slow.example") || p.Explain("slow.example") != nil {
			t.Error("a host that answers late is taken for one that does not")
		}
	})
}

// A connection on which nothing more comes is one that its client keeps for later, or one on which it waits: only what
// the client prints can tell.
func TestOutputTellsWhetherAHostFellSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testProxy()
		for _, output := range []string{"", `go: slow.example/x@v1.0.0: unrecognized import path "slow.example/x": https fetch: Get "https://slow.example/x?go-get=1": EOF`} {
			client, server, over := tunnel(t, p, "slow.example")
			pass(t, client, server, "hello")
			pass(t, server, client, "yes?")
			<-over
			err := p.Explain(output)
			if (err != nil) != (output != "") || err != nil && err.Kind != k6x.Unavailable {
				t.Errorf("%q: %v", output, err)
			}
			if admitted(p, "slow.example") != (output == "") {
				t.Errorf("%q: it is left alone, or not", output)
			}
		}
	})
}

func TestHostThatClosesIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testProxy()
		client, server, over := tunnel(t, p, "short.example")
		pass(t, client, server, "hello")
		pass(t, server, client, "bye")
		server.Close()
		<-over // a client that does not close its end is not waited for without end
		if !admitted(p, "short.example") || p.Explain("short.example") != nil {
			t.Error("it is taken for one that does not answer")
		}
	})
}

func TestTunnelsEndWithTheProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testProxy()
		ctx, cancel := context.WithCancel(t.Context())
		client, near := net.Pipe()
		far, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		go func() { cancel() }()
		p.relay(ctx, target{host: "a.example"}, near, bufio.NewReader(near), far)
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	p := testProxy()
	for i := range 2 * maxHosts {
		p.note(target{host: strings.Repeat("a", i%50+1) + string(rune('a'+i%26)) + time.Duration(i).String() + ".example"}, silent)
	}
	if n := p.hosts.Len(); n > maxHosts {
		t.Errorf("%d hosts", n)
	}
}
