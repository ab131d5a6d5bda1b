package remote

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"k6x"
)

const (
	rosterBucket = "k6x-workers"
	maxRoster    = 10_000 // names
	maxReason    = 500    // bytes
	changeTime   = 3 * time.Second
	markTime     = time.Hour // for which the mark of one that was removed is kept
)

// Standing is what was decided about a worker.
type Standing string

// The standings.
const (
	Active      Standing = "active"
	Drained     Standing = "drained"     // it gets nothing more to do
	Quarantined Standing = "quarantined" // as well, as it delivered something wrong
	Revoked     Standing = "revoked"     // its credential is taken back, and its name gets no other
)

// doubted reports whether what a worker says counts for nothing.
func (s Standing) doubted() bool { return s == Quarantined || s == Revoked }

// Member is a worker that has dialed in some time.
type Member struct {
	Hash     []byte    `json:"hash,omitempty"` // SHA-256 of the password
	Instance string    `json:"instance,omitempty"`
	Standing Standing  `json:"standing"`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since"` // of the standing

	Registered time.Time `json:"registered,omitzero"` // when it got the password
}

// Roster is which workers may dial in, and how they stand: the same for all services on a NATS, and for later.
type Roster struct {
	broker  *Broker
	kv      jetstream.KeyValue
	changed func(name string, now Member) // called for each change, also by others

	mu      sync.Mutex // guards members
	members map[string]Member
}

// openRoster reads the roster, and follows it until ctx ends.
func openRoster(ctx context.Context, b *Broker, changed func(name string, now Member)) (*Roster, error) {
	r := &Roster{broker: b, changed: changed, members: make(map[string]Member)}
	js, err := jetstream.New(b.conn)
	if err != nil {
		return nil, err
	}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	r.kv, err = js.KeyValue(starting, rosterBucket) // as the operator has set it up, with replicas perhaps
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		r.kv, err = js.CreateOrUpdateKeyValue(starting, jetstream.KeyValueConfig{Bucket: rosterBucket, Description: "workers of k6x", MaxValueSize: 4 << 10, LimitMarkerTTL: markTime})
	}
	if err != nil {
		return nil, k6x.Errorf(k6x.Unavailable, "the list of workers cannot be kept in NATS: %w", err).WithHint("JetStream has to be on, and this service allowed to use it.")
	}
	all, err := r.kv.WatchAll(ctx)
	if err != nil {
		return nil, err
	}
	read := make(chan struct{})
	go func() {
		for entry := range all.Updates() {
			if entry == nil { // that was all there is
				close(read)
				continue
			}
			var m Member
			if entry.Operation() != jetstream.KeyValuePut {
				r.drop(entry.Key())
			} else if json.Unmarshal(entry.Value(), &m) == nil {
				r.note(entry.Key(), m)
			}
		}
	}()
	select {
	case <-read:
		return r, nil
	case <-starting.Done():
		return nil, k6x.Errorf(k6x.Unavailable, "the list of workers in NATS cannot be read within %s", startTime)
	}
}

// note takes over what is in the roster.
func (r *Roster) note(name string, m Member) {
	r.mu.Lock()
	before, known := r.members[name]
	r.members[name] = m
	r.mu.Unlock()
	if !known || before.Standing != m.Standing || before.Instance != m.Instance {
		r.changed(name, m)
	}
}

// doubt quarantines a member as far as this service goes, unless it is doubted already, and returns the standing before.
func (r *Roster) doubt(name, reason string) (before Standing) {
	r.mu.Lock()
	m := r.members[name]
	if before = m.Standing; !before.doubted() {
		m.Standing, m.Reason, m.Since = Quarantined, reason, time.Now().UTC()
		r.members[name] = m
	}
	r.mu.Unlock()
	if !before.doubted() {
		r.changed(name, m)
	}
	return before
}

func (r *Roster) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, name)
}

// forget removes a member. If that cannot be done now, it is tried again by whoever finds it.
func (r *Roster) forget(ctx context.Context, name string) {
	if r.kv.Purge(ctx, name, jetstream.PurgeTTL(markTime)) == nil {
		r.drop(name)
	}
}

// all returns the members by name.
func (r *Roster) all() map[string]Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.members)
}

// of returns a member; of one that is not known the zero value.
func (r *Roster) of(name string) Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[name]
}

// knows reports whether a worker may connect with a password.
func (r *Roster) knows(name, password string) bool {
	m := r.of(name)
	sum := sha256.Sum256([]byte(password))
	return m.Standing != "" && m.Standing != Revoked && subtle.ConstantTimeCompare(m.Hash, sum[:]) == 1
}

// admit gives a worker a credential in place of the one that it had.
func (r *Roster) admit(ctx context.Context, name, instance string) (password string, err error) {
	password = rand.Text()
	sum := sha256.Sum256([]byte(password))
	err = r.change(ctx, name, func(m *Member, known bool) error {
		switch {
		case !known && len(r.all()) >= maxRoster:
			return k6x.Errorf(k6x.Busy, "there are too many names of workers")
		case !known:
			m.Standing, m.Since = Active, time.Now().UTC()
		case m.Standing == Revoked:
			return k6x.Errorf(k6x.Forbidden, "the worker %s was revoked: %s", name, m.Reason).WithHint("The operator can take that back: k6x workers admit %s", name)
		}
		m.Hash, m.Instance, m.Registered = sum[:], instance, time.Now().UTC()
		return nil
	})
	return password, err
}

// set gives a worker another standing, and returns the one before. One that is revoked is not quarantined.
func (r *Roster) set(ctx context.Context, name string, to Standing, reason string) (before Standing, err error) {
	err = r.change(ctx, name, func(m *Member, known bool) error {
		if !known {
			return k6x.Errorf(k6x.NotFound, "there is no worker %s", k6x.Clip(name))
		}
		if before = m.Standing; before == Revoked && to == Quarantined {
			return nil
		}
		m.Standing, m.Reason, m.Since = to, k6x.ClipTo(reason, maxReason), time.Now().UTC()
		if to == Revoked {
			m.Hash = nil
		}
		return nil
	})
	return before, err
}

// change changes a member, and tries again if another service did so meanwhile.
func (r *Roster) change(ctx context.Context, name string, f func(m *Member, known bool) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	for {
		var m Member
		var revision uint64
		entry, err := r.kv.Get(ctx, name)
		switch {
		case err == nil:
			revision = entry.Revision()
			err = json.Unmarshal(entry.Value(), &m)
		case errors.Is(err, jetstream.ErrKeyNotFound):
			err = nil // also if it was removed
		}
		if err == nil {
			if err := f(&m, revision > 0); err != nil {
				return err
			}
			if revision == 0 {
				_, err = r.kv.Create(ctx, name, encode(m))
			} else {
				_, err = r.kv.Update(ctx, name, encode(m), revision)
			}
			if err == nil {
				r.note(name, m)
				return nil
			}
		}
		if !errors.Is(err, jetstream.ErrKeyExists) || ctx.Err() != nil {
			r.broker.reopen()
			return k6x.Errorf(k6x.Unavailable, "the list of workers cannot be changed now").WithCause(fmt.Errorf("%s: %w", name, err)).WithRetry(changeTime)
		}
	}
}
