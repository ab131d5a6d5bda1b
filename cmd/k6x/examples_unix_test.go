//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// With the NATS of the example a worker without credentials builds, and may do nothing else.
func TestNATSOfTheExampleIsForServicesAndWorkers(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it builds")
	}
	t.Setenv("NATS_PASSWORD", "p123")
	options, err := server.ProcessConfigFile("../../examples/kubernetes/replicas/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	options.Host, options.Port, options.HTTPPort, options.StoreDir, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, 0, t.TempDir(), true
	broker, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(func() {
		broker.Shutdown()
		broker.WaitForShutdown()
	})
	if !broker.ReadyForConnections(30 * time.Second) {
		t.Fatal("NATS does not start")
	}

	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("worker-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, modules := newGate(t)
	as := func(user string) string { return strings.Replace(broker.ClientURL(), "://", "://"+user, 1) }
	s := mustServe(t, "", modules, warmDir(t), "--workers", "--worker-token-file", token, "--build-here=false", "--nats", as("service:p123@"))
	startWorker(t, s.url, modules, "k6x-worker-0", token)
	s.get(t, path(pinned), 200)
	if built := workers(t, s.url)["k6x-worker-0"].Built; built != 1 {
		t.Errorf("the worker has built %d", built)
	}

	refused := make(chan error, 10)
	worker, err := nats.Connect(as(""), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }), nats.CustomInboxPrefix("_INBOX.w"))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	for _, subject := range []string{"k6x.to.k6x-worker-0", "$JS.API.STREAM.NAMES", "k6x.from.w"} {
		if err := worker.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-refused; !strings.Contains(err.Error(), "Permissions Violation") {
			t.Errorf("%s: %v", subject, err)
		}
	}
	for _, subject := range []string{"k6x.>", "_INBOX.>"} {
		if _, err := worker.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		if err := <-refused; !strings.Contains(err.Error(), "Permissions Violation") {
			t.Errorf("%s: %v", subject, err)
		}
	}
}
