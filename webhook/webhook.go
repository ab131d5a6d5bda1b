// Package webhook posts the entries of a history to a receiver, in their order, by the rules of Standard Webhooks
// (https://www.standardwebhooks.com).
//
// How far a receiver is, is the last entry of a journal of its own, which all services on a bucket share. To send, a service takes the
// turn by appending an entry behind the last, which one of several can do; with the next one it says how far it came. A service that is killed in its
// turn leaves it to another one after a while, and what it sent since may come a second time: with the same webhook-id.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k6x/cache/journal"
	"k6x/history"
	"k6x/internal/web"
)

const (
	postTime   = 10 * time.Second // for one entry
	turnTime   = 20 * time.Second // after which no other entry is begun
	maxBackoff = time.Hour
	maxAnswer  = 64 << 10 // bytes that are read of one
	maxSecrets = 10
)

// Config says what is sent to whom.
type Config struct {
	URL     *url.URL
	Secrets [][]byte // of the signatures
	History *history.History
	Cursor  *journal.Journal // how far this receiver is
	Since   time.Time        // what is older is not sent to a receiver that is new
	Claim   time.Duration    // after which the turn of a service that was killed is another one's; 0: a minute
	Backoff time.Duration    // after the first try that failed, and twice that after the next; 0: 5 seconds
	Client  *http.Client     // nil: one that follows no redirects and uses the proxies of the environment
	Logger  *slog.Logger
}

// Sender sends to one receiver.
type Sender struct {
	cfg  Config
	name string // of the receiver, without secrets

	last  int64     // number of the state that was read last
	since time.Time // when that was first seen
}

// state is an entry of the cursor.
type state struct {
	Sent   int64     `json:"sent"`             // number of the last entry that the receiver has
	Turn   string    `json:"turn,omitempty"`   // random, of the service that sends now; "": none does
	Failed int       `json:"failed,omitempty"` // tries without success since the last one with
	Next   time.Time `json:"next,omitzero"`    // of the next try
}

// ParseSecrets reads secrets, one a line, each of the form whsec_BASE64. With several, each signs, so that receivers can change theirs.
func ParseSecrets(text string) (secrets [][]byte, err error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		encoded, ok := strings.CutPrefix(line, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || !ok || len(key) < 24 || len(key) > 64 {
			return nil, fmt.Errorf("secret %d is not of the form whsec_BASE64, with 24 to 64 bytes", len(secrets)+1)
		}
		secrets = append(secrets, key)
	}
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("there are %d secrets, and 1 to %d are wanted", len(secrets), maxSecrets)
	}
	return secrets, nil
}

// New returns a sender, which does nothing until it runs.
func New(cfg Config) *Sender {
	cfg.Claim, cfg.Backoff = cmp.Or(cfg.Claim, time.Minute), cmp.Or(cfg.Backoff, 5*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Client == nil {
		cfg.Client = web.NewClient(nil)
		cfg.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return &Sender{cfg: cfg, name: cfg.URL.Scheme + "://" + cfg.URL.Host} // the path may be a secret, too
}

// errLeft says that the receiver wants nothing any more.
var errLeft = errors.New("the receiver answers 410 Gone")

// Run sends until ctx ends, or the receiver answers that it is gone. What is under way when ctx ends is brought to its end.
func (s *Sender) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := s.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errLeft):
			s.cfg.Logger.Warn("a webhook is left off until the next start", "receiver", s.name, "error", err)
			return
		case err != nil:
			s.cfg.Logger.Warn("a webhook cannot go on; it is tried again", "receiver", s.name, "error", err)
			wait = 2 * s.cfg.Backoff
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// turn sends what there is to send, if no other service does, and returns how long to wait before the next turn.
func (s *Sender) turn(ctx context.Context) (wait time.Duration, err error) {
	// 1. How far the receiver is.
	last, now, err := s.state(ctx)
	if err != nil {
		return 0, err
	}
	if last != s.last || s.since.IsZero() {
		s.last, s.since = last, time.Now()
	}
	switch seen, next := time.Since(s.since), time.Until(now.Next); {
	case last == 0: // it is new
		now.Sent, err = s.begin(ctx)
		if err == nil {
			_, err = s.cfg.Cursor.AppendBehind(ctx, 0, now)
		}
		return 0, ignoreTaken(err)
	case now.Turn != "" && seen < s.cfg.Claim:
		return min(time.Second, s.cfg.Claim-seen), nil
	case next > 0 && next <= maxBackoff: // else the clock of the service that wrote it was wrong
		return min(next, time.Minute), nil
	}
	// 2. What it lacks.
	entries, read, err := s.cfg.History.Changes(ctx, now.Sent, 1000)
	if gone, ok := errors.AsType[*journal.GoneError](err); ok {
		s.cfg.Logger.Warn("a webhook goes on with what is kept; its receiver was out of reach for longer", "receiver", s.name,
			"missed_from", now.Sent+1, "first", gone.First)
		now.Sent = gone.First - 1
		entries, read, err = s.cfg.History.Changes(ctx, now.Sent, 1000)
	}
	if err != nil {
		return 0, err
	}
	if len(entries) == 0 {
		return 0, s.cfg.History.Wait(ctx, read)
	}
	// 3. The turn, which one service has.
	now.Turn = rand.Text()
	claim, err := s.cfg.Cursor.AppendBehind(ctx, last, now)
	if err != nil {
		return 0, ignoreTaken(err)
	}
	// 4. The entries, and how far that went.
	failed := s.deliver(ctx, &now, entries)
	committing, cancel := context.WithTimeout(context.WithoutCancel(ctx), postTime)
	defer cancel()
	_, err = s.cfg.Cursor.AppendBehind(committing, claim.Number, now)
	if errors.Is(failed, errLeft) {
		return 0, failed
	}
	return 0, ignoreTaken(err)
}

// ignoreTaken returns err unless it says that another service was first.
func ignoreTaken(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// state returns how far the receiver is, and the number of the entry that says so; 0 if there is none.
func (s *Sender) state(ctx context.Context) (number int64, now state, err error) {
	e, err := s.cfg.Cursor.Last(ctx)
	if err == nil && e.Number > 0 {
		err = json.Unmarshal(e.Data, &now)
	}
	return e.Number, now, err
}

// begin returns the number of the last entry that is not sent to a receiver that is new.
func (s *Sender) begin(ctx context.Context) (number int64, err error) {
	for {
		entries, _, err := s.cfg.History.Changes(ctx, number, 1000)
		if gone, ok := errors.AsType[*journal.GoneError](err); ok {
			number = gone.First - 1
			continue
		}
		if err != nil || len(entries) == 0 {
			return number, err
		}
		for _, n := range entries {
			if !n.Time.Before(s.cfg.Since) {
				return number, nil
			}
			number = n.Number
		}
	}
}

// deliver sends entries for as long as a turn is, and notes in the state how far that went, which it gives back. An error is that of the last.
func (s *Sender) deliver(ctx context.Context, now *state, entries []history.Numbered) error {
	begun := time.Now()
	now.Turn, now.Next = "", time.Time{}
	for _, n := range entries {
		if ctx.Err() != nil || time.Since(begun) > min(turnTime, s.cfg.Claim/3) {
			return nil
		}
		err := s.post(context.WithoutCancel(ctx), n)
		if errors.Is(err, errLeft) {
			return err
		}
		if err != nil {
			pause := min(s.cfg.Backoff<<min(now.Failed, 20), maxBackoff)
			now.Failed++
			now.Next = time.Now().Add(pause).UTC()
			s.cfg.Logger.Warn("a webhook is tried again", "receiver", s.name, "number", n.Number, "tries", now.Failed, "after", pause, "error", err)
			return err
		}
		now.Sent, now.Failed = n.Number, 0
	}
	return nil
}

// post sends one entry.
func (s *Sender) post(ctx context.Context, n history.Numbered) error {
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL.String(), bytes.NewReader(body))
	if err != nil {
		return web.WithoutURL(err)
	}
	id, at := "msg_"+n.ID, strconv.FormatInt(time.Now().Unix(), 10)
	var signatures []string
	for _, secret := range s.cfg.Secrets {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", web.UserAgent)
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", strings.Join(signatures, " "))
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return web.WithoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again
	switch {
	case resp.StatusCode == http.StatusGone:
		return errLeft
	case resp.StatusCode/100 == 3:
		return fmt.Errorf("the receiver answers %d, and redirects are not followed", resp.StatusCode)
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("the receiver answers %d", resp.StatusCode)
	}
	return nil
}
