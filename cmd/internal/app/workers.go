package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"k6x"
	"k6x/builder"
	"k6x/builder/remote"
	"k6x/cmd/internal/cli"
	"k6x/internal/disk"
	"k6x/service"
)

// WorkersOptions say which machines build for a service.
type WorkersOptions struct {
	On           bool
	TokenFile    string
	OperatorFile string   // "": nobody may drain and revoke workers
	NATS         []string // servers; nil: one is embedded
	NATSCreds    string
	BuildHere    bool
	Verify       float64 // percent of what workers build
}

// AddFlags adds their flags.
func (o *WorkersOptions) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.On, "workers", false, "let k6x worker on other machines dial in below /worker, and build there first")
	f.StringVar(&o.TokenFile, "worker-token-file", "", "`file` with tokens, one a line, of those who may run workers")
	f.StringVar(&o.OperatorFile, "operator-token-file", "", "`file` with tokens, one a line, of those who may drain and revoke workers (default nobody may)")
	f.StringSliceVar(&o.NATS, "nats", nil, "`URL`s of NATS servers with JetStream, nats:// or tls://, which several services share (default one that is a part of this service)")
	f.StringVar(&o.NATSCreds, "nats-creds", "", "`file` with credentials for --nats")
	f.Var((*cli.Percent)(&o.Verify), "verify-workers", "`percent` of what workers build that is built again on another machine, without what others compiled; whose bytes differ gets nothing more to do")
	f.BoolVar(&o.BuildHere, "build-here", true, "build on this machine too, in as many slots as --max-builds says")
}

const brokerWait = 20 * time.Second // more than a lease outlives a service that died

// slots returns how many builds run in this process at once.
func (o Options) slots() int {
	if o.Workers.On && !o.Workers.BuildHere {
		return 0
	}
	return o.MaxBuilds
}

// openWorkers lets workers dial in, if they may. Engine is that of this service.
func (a *App) openWorkers(engine builder.Engine) (w service.Workers, err error) {
	o := a.options.Workers
	if !o.On || a.options.Lifetime != builder.Resident {
		return w, nil
	}
	if o.TokenFile == "" {
		return w, &cli.UsageError{Err: errors.New("--workers needs --worker-token-file")}
	}
	if w.Tokens, err = service.LoadTokens(o.TokenFile); err != nil {
		return w, err
	}
	if o.OperatorFile != "" {
		if w.Operators, err = service.LoadTokens(o.OperatorFile); err != nil {
			return w, err
		}
	}
	if w.Broker, err = a.openBroker(); err != nil {
		return w, err
	}
	a.tools.OnClose(func() error { w.Broker.Close(); return nil })
	w.Hub, err = remote.Open(remote.Config{
		Broker: w.Broker, Here: engine, Slots: a.options.slots(), Engine: a.engine, Store: a.store.bucket, Timeout: a.options.BuildTimeout, First: a.compilesFirst, Quarantined: a.quarantined, Logger: a.logger,
	})
	if err != nil {
		return w, err
	}
	a.tools.OnClose(func() error { w.Hub.Close(); return nil })
	w.Cache = a.offer().Serve
	a.metrics.Counter("k6x_workers_refused_total", "What workers asked for or reported without a right to it.", func() float64 { return float64(w.Hub.Refused()) })
	a.metrics.Gauge("k6x_workers_slots", "Builds that may be under way at once at workers that are there, and here.", func() float64 {
		all, _ := w.Hub.Count()
		return float64(all)
	})
	return w, nil
}

// openBroker connects to NATS, or starts it.
func (a *App) openBroker() (*remote.Broker, error) {
	o := a.options.Workers
	if len(o.NATS) > 0 {
		return remote.Dial(o.NATS, o.NATSCreds, a.logger)
	}
	if a.store.bucket != nil {
		if err := a.embedsAlone(); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(a.options.CacheDir, "nats")
	lock, err := disk.TryLock(dir+".lock", false)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, twoBrokers("in this cache directory")
	}
	a.tools.OnClose(lock.Close)
	return remote.Embed(dir, cli.MaxDownloads()/2, a.logger)
}

func twoBrokers(where string) error {
	return k6x.Errorf(k6x.Invalid, "there is another service with workers %s", where).
		WithHint("Run NATS for both, and name its servers with --nats: workers that dial one service build for the others only so.")
}

// embedsAlone returns an error if another service on the bucket has a NATS of its own.
func (a *App) embedsAlone() error {
	if a.store.leases == nil {
		return nil
	}
	key := sha256.Sum256([]byte("NATS")) // no recipe has it
	ctx, cancel := context.WithTimeout(context.Background(), brokerWait)
	defer cancel()
	_, release, err := a.store.leases.Acquire(ctx, hex.EncodeToString(key[:]))
	switch {
	case ctx.Err() != nil:
		return twoBrokers("on this bucket")
	case err != nil:
		return fmt.Errorf("looking for other services on the bucket: %w", err)
	}
	a.tools.OnClose(func() error { release(nil); return nil })
	return nil
}
