package remote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cache/bucket"
)

// Config says what a [Hub] is made of.
type Config struct {
	Broker  *Broker
	Here    builder.Engine // of the service itself
	Slots   int            // of that; 0: the service builds nothing
	Engine  *native.Engine // judges what workers deliver, in its directories
	Store   *bucket.Store  // in which workers put what they build, where its bucket lets them; nil: they send it to this service
	Timeout time.Duration  // of one build; 0: 15 minutes

	// First reports whether the service itself is to do a job that a worker could do, too; nil: it never is. All wait for the answer.
	First func(builder.Job) bool
	// Quarantined is told of each worker that this service quarantines, and of all whose word counts for nothing now, as [Doubted]; nil: nobody is.
	Quarantined func(worker, reason string, doubted map[string]bool)
	Logger      *slog.Logger

	Pace Pace
	Most int64 // bytes of a binary; 0: 1 GiB
}

// Hub knows the workers, and runs jobs on them.
type Hub struct {
	cfg     Config
	id      string // of this service, until it ends
	roster  *Roster
	started time.Time
	wake    func()      // see [builder.Limit.Wake]
	closing atomic.Bool // no answer is to end what is built

	admitting atomic.Bool // of a worker that the operator has let in

	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows, and all peers
	peers   map[string]*peer
	hellos  map[string]*count // that came since the hub last looked for who is gone
	reports map[string]*count // as well
	tasks   map[string]*task  // by token
	here    int               // places that are taken of the service
	settled bool              // it is known which workers there are
	full    bool              // no place is free, whatever the job, until something changes
}

// peer is a worker that was heard of.
type peer struct {
	hello
	seen          time.Time
	since         time.Time // when it came to be there
	able          time.Time // when it last said that it takes jobs
	taken         int       // places that are taken of it here
	others        int       // and elsewhere, as it said: by other services, and by builds of before
	orphans       bool      // some of these are builds whose service does not answer
	shunned       bool      // it gave a job back, and has not said since how it is
	built, failed int
	failing       bool // the last build that ended there has failed, or took it with it
	unable        bool // to put binaries into the bucket: one that it said is there was not
}

// Open returns a hub. It hears of workers at once, and gives out no places until [Hub.Start].
func Open(cfg Config) (_ *Hub, err error) {
	cfg.Timeout, cfg.Most = cmp.Or(cfg.Timeout, 15*time.Minute), cmp.Or(cfg.Most, maxBinary)
	h := &Hub{cfg: cfg, id: uuid.NewString(), started: time.Now(), wake: func() {}, peers: make(map[string]*peer), hellos: make(map[string]*count), reports: make(map[string]*count), tasks: make(map[string]*task)}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	if h.roster, err = openRoster(ctx, cfg.Broker, h.decided); err != nil {
		stop()
		return nil, err
	}
	cfg.Broker.roster.Store(h.roster)
	h.settled = len(h.roster.all()) == 0
	for subject, take := range map[string]func(name string, m *nats.Msg){
		fromWorker("*", everyService): h.heard, fromWorker("*", h.id): h.reported,
	} {
		if _, err := cfg.Broker.conn.Subscribe(subject, func(m *nats.Msg) { take(strings.Split(m.Subject, ".")[2], m) }); err != nil {
			stop()
			return nil, err
		}
	}
	h.work.Go(func() { h.watch(ctx) })
	return h, nil
}

// Close ends what goes on. No job may be running.
func (h *Hub) Close() {
	h.stop()
	h.work.Wait()
}

// How many messages of a worker are looked at between two looks at who is gone.
const (
	maxHellos  = 16   // one is expected
	maxReports = 16   // for each of its builds, and for what ended just now; five are expected, beside those that bring the binary further
	maxFlood   = 1000 // more: it is cut off
)

// count is of the messages of a worker.
type count struct{ taken, dropped int }

// tooMany counts a message of a worker, and reports whether it is one too many. Who goes on is cut off, and gets no more work. The caller holds mu.
func (h *Hub) tooMany(counts map[string]*count, name string, most int) bool {
	n := counts[name]
	if n == nil {
		if n = new(count); len(counts) < maxRoster {
			counts[name] = n
		}
	}
	if n.taken < most {
		n.taken++
		return false
	}
	if n.dropped++; n.dropped == maxFlood {
		go h.quarantine("it floods the service with messages", name)
	}
	if n.dropped%maxFlood == 0 {
		go h.cfg.Broker.cutOff(name)
	}
	return true
}

// heard takes a hello.
func (h *Hub) heard(name string, m *nats.Msg) {
	h.mu.Lock()
	flood := h.tooMany(h.hellos, name, maxHellos)
	h.mu.Unlock()
	if flood {
		return
	}
	var said hello
	if err := json.Unmarshal(m.Data, &said); err != nil || !said.sane() {
		h.cfg.Broker.refuse(name, "a hello that makes no sense")
		return
	}
	member := h.roster.of(name)
	if member.Standing == "" && h.cfg.Broker.server != nil { // it was forgotten, and is to register
		h.cfg.Broker.kick(name, false)
		return
	}
	if member.Standing == "" { // the operator has let it in
		if h.admitting.CompareAndSwap(false, true) { // one at a time, and not here, as the others would wait; it says hello again
			go func() {
				defer h.admitting.Store(false)
				if _, err := h.roster.admit(context.Background(), name, said.Instance); err != nil {
					h.cfg.Logger.Warn("a worker could not be let in", "worker", name, "error", err)
				}
			}()
		}
		return
	}
	h.mu.Lock()
	p := h.peers[name]
	if p == nil {
		if len(h.peers) >= maxRoster {
			h.mu.Unlock()
			return
		}
		p = &peer{since: time.Now().UTC()}
		h.peers[name] = p
		h.cfg.Logger.Info("a worker is there", "worker", name, "version", said.Version, "platform", said.Platform, "slots", said.Slots)
	}
	fresh := p.Instance != said.Instance
	died := p.Instance != "" && fresh
	changed := !h.alive(p) || p.shunned || !reflect.DeepEqual(p.hello, said)
	p.hello, p.seen, p.shunned, p.others, p.orphans = said, time.Now(), false, 0, false
	for _, r := range said.Running {
		if r.Service != h.id {
			p.others++
		}
		p.orphans = p.orphans || r.Orphan
	}
	if _, _, usable := h.standing(name, p); usable {
		p.able = p.seen
	}
	if said.Left || died {
		h.lose(name, said.Left)
	}
	if said.Left {
		p.seen = p.seen.Add(-h.cfg.Pace.dead())
	}
	wake := h.wake
	if changed {
		h.full = false
	}
	idles := h.idles(p)
	h.mu.Unlock()
	if fresh && idles != "" {
		_ = h.cfg.Broker.conn.Publish(toWorker(name), encode(order{Message: idles}))
	}
	if changed { // else each hello of each worker would have all of the queue asked again
		wake()
	}
}

// watch finds workers that are dead, and when it is known which there are.
func (h *Hub) watch(ctx context.Context) {
	tick := time.NewTicker(h.cfg.Pace.hello() / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.Lock()
		clear(h.hellos)
		clear(h.reports)
		wake := h.wake
		if h.settled || time.Since(h.started) < h.cfg.Pace.settle() {
			wake = nil
		}
		h.settled = h.settled || wake != nil
		for name, p := range h.peers {
			if !h.alive(p) {
				h.lose(name, false)
			}
		}
		var gone []string
		for name, m := range h.roster.all() {
			if h.isGone(m, h.peers[name]) {
				gone = append(gone, name)
				delete(h.peers, name)
			}
		}
		h.mu.Unlock()
		for _, name := range gone {
			h.roster.forget(ctx, name)
			h.cfg.Broker.kick(name, false)
		}
		if wake != nil {
			wake()
		}
	}
}

const (
	goneTime    = time.Hour           // after which a worker that left is not listed any more, and its credential is no good
	decidedTime = 30 * 24 * time.Hour // for which it is kept what was decided about one that is not there
)

// isGone reports whether a member, which was heard of as p if that is not nil, is to be forgotten. The caller holds mu.
func (h *Hub) isGone(m Member, p *peer) bool {
	last, keep := h.started, goneTime
	switch {
	case p != nil && p.taken > 0:
		return false
	case p != nil:
		last = p.seen
	case m.Registered.After(h.started): // and it never came
		keep = h.cfg.Pace.missing()
	}
	if m.Registered.After(last) {
		last = m.Registered
	}
	if m.Standing != Active {
		keep = decidedTime
		if m.Since.After(last) || p == nil {
			last = m.Since
		}
	}
	return time.Since(last) > keep
}

func (h *Hub) alive(p *peer) bool { return time.Since(p.seen) < h.cfg.Pace.dead() }

// lose ends the jobs of a worker here, so that they are built elsewhere; back says that it is not at fault. The caller holds mu.
func (h *Hub) lose(name string, back bool) {
	for _, t := range h.tasks {
		if t.worker == name {
			select {
			case t.lost <- back:
			default: // it is already
			}
		}
	}
}

// decided is told of what was decided about a worker.
func (h *Hub) decided(name string, now Member) {
	h.cfg.Logger.Info("a worker", "worker", name, "standing", now.Standing, "reason", now.Reason)
	if now.Standing == Revoked {
		h.cfg.Broker.kick(name, false)
	}
	h.mu.Lock()
	if now.Standing == Revoked || now.Standing == Quarantined {
		h.lose(name, false)
	}
	h.full = false
	wake := h.wake
	h.mu.Unlock()
	wake()
}

// quarantine gives workers nothing more to do.
func (h *Hub) quarantine(reason string, workers ...string) {
	reason = k6x.ClipTo(reason, maxReason)
	var changed []string
	for _, name := range workers {
		if h.roster.of(name).Standing.doubted() {
			continue
		}
		before, err := h.roster.set(context.Background(), name, Quarantined, reason)
		if err != nil {
			h.cfg.Logger.Error("that a worker is quarantined is known to this service only, until it ends", "worker", name, "error", err)
			before = h.roster.doubt(name, reason)
		}
		if !before.doubted() { // nor has another call or service done it meanwhile
			h.cfg.Logger.Error("a worker is quarantined", "worker", name, "reason", reason)
			changed = append(changed, name)
		}
	}
	if h.cfg.Quarantined == nil || len(changed) == 0 {
		return
	}
	doubted := Doubted(h.Pool().Workers)
	go func() { // builds do not wait for it
		for _, name := range changed {
			h.cfg.Quarantined(name, reason, doubted)
		}
	}()
}

// Doubted returns the workers whose word counts for nothing, and whether each is quarantined.
func Doubted(workers []builder.Worker) map[string]bool {
	doubted := make(map[string]bool)
	for _, w := range workers {
		if Standing(w.State).doubted() {
			doubted[w.Name] = w.State == string(Quarantined)
		}
	}
	return doubted
}

// Refused returns how often workers were refused what they had no right to.
func (h *Hub) Refused() int64 { return h.cfg.Broker.refused.Load() }

// Register gives a worker a credential. Errors: Invalid, Forbidden if it was revoked, Conflict if there is one of that name.
func (h *Hub) Register(ctx context.Context, r Registration) (Credential, error) {
	if !names.MatchString(r.Name) || !names.MatchString(r.Instance) {
		return Credential{}, k6x.Errorf(k6x.Invalid, "a worker has a name of letters, digits, _ and -, which %q is not", k6x.Clip(r.Name))
	}
	h.mu.Lock()
	p := h.peers[r.Name]
	taken := p != nil && h.alive(p) && p.Instance != r.Instance
	h.mu.Unlock()
	if taken {
		return Credential{}, k6x.Errorf(k6x.Conflict, "there is a worker %s already", r.Name).WithHint("Give each worker a name of its own, with --name.").WithRetry(h.cfg.Pace.dead())
	}
	password, err := h.roster.admit(ctx, r.Name, r.Instance)
	if err != nil {
		return Credential{}, err
	}
	h.cfg.Broker.kick(r.Name, false) // what is left of an earlier one
	c := Credential{Password: password, Servers: h.cfg.Broker.servers}
	if r.Wire != Wire {
		c.Message = otherWire(r.Wire)
	}
	return c, nil
}

func otherWire(its int) string {
	return fmt.Sprintf("it gets no work: it speaks format %d and this service %d, so that one of them is to be upgraded", its, Wire)
}

// idles returns why a worker gets nothing to do although nothing was decided against it; "": it gets something.
func (h *Hub) idles(p *peer) string {
	need := h.cfg.Engine.Settings().Toolchain
	switch {
	case p.Wire != Wire:
		return otherWire(p.Wire)
	case p.fits(builder.Job{Recipe: k6x.Recipe{Settings: k6x.Settings{Toolchain: need}}}):
		return ""
	}
	return fmt.Sprintf("it gets nothing new to do: this service builds with %s, which the worker neither has nor may fetch, see --fetch-toolchains", need)
}

// Change has the operator decide about a worker.
func (h *Hub) Change(ctx context.Context, name, action string) error {
	to, ok := map[string]Standing{"drain": Drained, "revoke": Revoked, "admit": Active}[action]
	if !ok {
		return k6x.Errorf(k6x.NotFound, "a worker can be told to drain, revoke or admit")
	}
	reason := "by the operator"
	if to == Active {
		reason = ""
	}
	_, err := h.roster.set(ctx, name, to, reason)
	return err
}

// tokenOf returns the token that a report begins with: what comes behind is read by whom it is for. "": there is none.
func tokenOf(data []byte) string {
	rest, begins := bytes.CutPrefix(data, []byte(`{"token":"`))
	token, _, ends := bytes.Cut(rest[:min(len(rest), 100)], []byte(`"`))
	if !begins || !ends {
		return ""
	}
	return string(token)
}

// useful takes back that a report of a worker counts, as it brought a binary further: of these there is an end.
func (h *Hub) useful(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.reports[name]; n != nil && n.taken > 0 {
		n.taken--
	}
}

// reported hands a report to the job that it is of.
func (h *Hub) reported(name string, m *nats.Msg) {
	token := tokenOf(m.Data)
	h.mu.Lock()
	t, most := h.tasks[token], maxReports
	if p := h.peers[name]; p != nil {
		p.seen = time.Now()
		most += p.taken * maxReports
	}
	flood := h.tooMany(h.reports, name, most)
	h.mu.Unlock()
	switch {
	case flood:
		h.cfg.Broker.refuse(name, "it reports too much")
	case token == "" || !inboxOf(m, name):
		h.cfg.Broker.refuse(name, "a report that makes no sense")
	case t == nil && h.closing.Load(): // it was given up, and goes on
	case t == nil || t.worker != name:
		h.cfg.Broker.refuse(name, "it reports a job that it does not have")
		h.answer(m, answer{Stop: true})
	default:
		select {
		case t.inbox <- m:
		default: // it does not wait for answers
			h.cfg.Broker.refuse(name, "it reports too much at once")
		}
	}
}

func (h *Hub) answer(m *nats.Msg, a answer) {
	if err := m.Respond(encode(a)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		h.cfg.Logger.Warn("a worker could not be answered", "error", err)
	}
}
