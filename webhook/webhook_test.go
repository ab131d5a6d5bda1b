package webhook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"k6x/cache/blob"
	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/history"
	"k6x/webhook"
)

var secret = "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))

// receiver is a real one: it checks signatures, and answers as it is told to.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex // guards what follows
	got    []int64    // numbers of entries that it took
	ids    []string   // of all requests
	answer func(number int64, tries int) int
	tries  map[int64]int
}

func receive(t *testing.T) *receiver {
	r := &receiver{t: t, tries: map[int64]int{}, answer: func(int64, int) int { return http.StatusNoContent }}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	checker, err := standardwebhooks.NewWebhook(secret)
	if err == nil {
		err = checker.Verify(body, req.Header)
	}
	var n history.Numbered
	if err = errors.Join(err, json.Unmarshal(body, &n)); err != nil {
		r.t.Errorf("%s: %v", body, err)
	}
	r.mu.Lock()
	r.tries[n.Number]++
	r.ids = append(r.ids, req.Header.Get("webhook-id"))
	status := r.answer(n.Number, r.tries[n.Number])
	if status/100 == 2 {
		r.got = append(r.got, n.Number)
	}
	r.mu.Unlock()
	if status == 0 { // an answer that is lost
		panic(http.ErrAbortHandler)
	}
	if status/100 == 3 {
		w.Header().Set("Location", r.URL+"/other")
	}
	w.WriteHeader(status)
}

// wait waits until the receiver has taken so many.
func (r *receiver) wait(count int) []int64 {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		if len(got) >= count {
			return got
		}
		if time.Now().After(end) {
			r.t.Fatalf("it has only %v", got)
		}
	}
}

// logged is what a sender logs.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

var log = new(logged) // of all tests

func open(b blob.Bucket) *history.History {
	return history.New(journal.New(journal.Config{Bucket: b, Prefix: "history/", Poll: 5 * time.Millisecond}), 100, slog.New(slog.DiscardHandler))
}

// add adds entries.
func add(t *testing.T, h *history.History, count int) {
	t.Helper()
	for i := range count {
		if err := h.Append(t.Context(), history.Entry{Type: history.Version, Module: "example.com/one", Version: fmt.Sprintf("v0.%d.0", i)}); err != nil {
			t.Error(err)
		}
	}
}

// start runs a sender of one service on a bucket, and returns what stops it.
func start(t *testing.T, b blob.Bucket, to string, change func(*webhook.Config)) (stop func()) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := webhook.ParseSecrets("# the old one\nwhsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("o"), 24)) + "\n" + secret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	cfg := webhook.Config{
		URL: u, Secrets: secrets, History: open(b), Cursor: journal.New(journal.Config{Bucket: b, Prefix: "webhooks/a/"}),
		Claim: 30 * time.Second, Backoff: 2 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { webhook.New(cfg).Run(ctx); close(done) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

// upTo returns the numbers to n.
func upTo(n int64) (list []int64) {
	for i := range n {
		list = append(list, i+1)
	}
	return list
}

func TestEntriesAreSignedAndComeInOrder(t *testing.T) {
	t.Parallel()
	b, r := &mem.Bucket{}, receive(t)
	r.answer = func(number int64, tries int) int { // not the second before it is tried a few times
		if number == 2 {
			return []int{http.StatusInternalServerError, http.StatusFound, 0, http.StatusOK}[min(tries, 4)-1]
		}
		return http.StatusOK
	}
	add(t, open(b), 3)
	to := strings.Replace(r.URL, "//", "//user:hunter2@", 1) + "/hunter2?token=hunter2"
	stop := start(t, b, to, nil)
	r.wait(3)
	add(t, open(b), 2)
	if got := r.wait(5); !slices.Equal(got, upTo(5)) {
		t.Errorf("got %v", got)
	}
	stop()
	stop = start(t, b, to, nil)
	add(t, open(b), 2)
	if got := r.wait(7); !slices.Equal(got, upTo(7)) {
		t.Errorf("after a stop and a start, got %v", got)
	}
	stop()
	slices.Sort(r.ids)
	if ids := slices.Compact(slices.Clone(r.ids)); len(ids) != 7 || len(r.ids) != 10 || !strings.HasPrefix(ids[0], "msg_") {
		t.Errorf("%d requests with %d ids", len(r.ids), len(ids))
	}
	if text := log.String(); strings.Contains(text, "hunter2") || strings.Contains(text, secret[6:]) || !strings.Contains(text, "redirects are not followed") {
		t.Errorf("the log is\n%s", text)
	}
}

func TestServicesOnOneBucketSendOnce(t *testing.T) {
	t.Parallel()
	b, r := &mem.Bucket{}, receive(t)
	for range 3 {
		start(t, b, r.URL, nil)
	}
	h := open(b)
	for range 30 {
		add(t, h, 1)
	}
	r.wait(30)
	time.Sleep(20 * time.Millisecond) // for one that would come twice
	if got := r.wait(30); !slices.Equal(got, upTo(30)) {
		t.Errorf("got %v", got)
	}
}

// cut fails all writes of one of the services once it is killed.
type cut struct {
	blob.Bucket
	mu   sync.Mutex
	dead bool
}

func (c *cut) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

func (c *cut) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return blob.Info{}, errors.New("killed")
	}
	return c.Bucket.Put(ctx, name, body, size, o)
}

func TestAKillLosesNothing(t *testing.T) {
	t.Parallel()
	shared, r := &mem.Bucket{}, receive(t)
	b := &cut{Bucket: shared}
	r.answer = func(number int64, _ int) int {
		if number == 3 {
			b.kill() // while the service has its turn
		}
		return http.StatusOK
	}
	add(t, open(shared), 5)
	stop := start(t, b, r.URL, nil)
	r.wait(3)
	stop()
	start(t, shared, r.URL, func(cfg *webhook.Config) { cfg.Claim = 50 * time.Millisecond })
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		ids := slices.Clone(r.ids)
		last := len(r.got) > 0 && slices.Contains(r.got[min(5, len(r.got)):], 5) || len(r.got) == 5
		r.mu.Unlock()
		slices.Sort(ids)
		if last && len(slices.Compact(ids)) == 5 { // what came twice has one id
			return
		}
		if time.Now().After(end) {
			t.Fatalf("got %v", r.got)
		}
	}
}

func TestAReceiverThatWantsNoMoreIsLeftOff(t *testing.T) {
	t.Parallel()
	b, r := &mem.Bucket{}, receive(t)
	r.answer = func(number int64, _ int) int {
		if number == 2 {
			return http.StatusGone
		}
		return http.StatusOK
	}
	add(t, open(b), 3)
	u, _ := url.Parse(r.URL)
	secrets, _ := webhook.ParseSecrets(secret)
	cfg := webhook.Config{URL: u, Secrets: secrets, History: open(b), Cursor: journal.New(journal.Config{Bucket: b, Prefix: "webhooks/a/"}),
		Logger: slog.New(slog.NewTextHandler(log, nil))}
	webhook.New(cfg).Run(t.Context()) // which ends
	if len(r.ids) != 2 || !strings.Contains(log.String(), "left off") {
		t.Errorf("%d requests; the log is %s", len(r.ids), log)
	}
	r.answer = func(int64, int) int { return http.StatusOK }
	start(t, b, r.URL, nil) // the next start goes on
	if got := r.wait(3); !slices.Equal(got, upTo(3)) {
		t.Errorf("got %v", got)
	}
}

func TestAReceiverThatWasOutOfReachForTooLongGoesOnWithWhatIsKept(t *testing.T) {
	t.Parallel()
	b, r := &mem.Bucket{}, receive(t)
	now := time.Now()
	entries := journal.New(journal.Config{Bucket: b, Prefix: "history/", Keep: time.Hour, Clock: func() time.Time { return now }})
	h := history.New(entries, 100, slog.New(slog.DiscardHandler))
	stop := start(t, b, r.URL, nil)
	add(t, h, 10)
	r.wait(10)
	stop()
	add(t, h, 600)
	for range 2 { // the first writes segments, the second finds them old
		if err := entries.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(2 * time.Hour)
	}
	if err := entries.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, last := entries.Bounds()
	if first == 1 {
		t.Fatal("nothing is forgotten")
	}
	start(t, b, r.URL, func(cfg *webhook.Config) { cfg.History = h })
	got := r.wait(10 + int(last-first) + 1)
	if got[10] != first || got[len(got)-1] != last || !strings.Contains(log.String(), "goes on with what is kept") {
		t.Errorf("it went on with %d up to %d, want %d to %d", got[10], got[len(got)-1], first, last)
	}
}

func TestAReceiverThatIsNewGetsWhatIsNew(t *testing.T) {
	t.Parallel()
	b, r := &mem.Bucket{}, receive(t)
	h := open(b)
	add(t, h, 3)
	since := time.Now()
	add(t, h, 2)
	start(t, b, r.URL, func(cfg *webhook.Config) { cfg.Since = since })
	if got := r.wait(2); !slices.Equal(got, []int64{4, 5}) {
		t.Errorf("got %v", got)
	}
}

func TestSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"none":          "\n# a remark\n",
		"no prefix":     secret[6:],
		"too short":     "whsec_aGVsbG8=",
		"not in base64": "whsec_" + strings.Repeat("!", 40),
		"too many":      strings.Repeat(secret+"\n", 11),
	} {
		if _, err := webhook.ParseSecrets(text); err == nil || strings.Contains(err.Error(), "aGVsbG8") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
