package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/blob/dial"
	"k6x/cache/bucket"
	"k6x/event"
)

// expiring is a bucket whose signed requests come too late.
type expiring struct{ blob.Bucket }

func (b expiring) SignedPut(ctx context.Context, name string, size int64, _ time.Duration) (blob.SignedRequest, error) {
	request, err := b.Bucket.SignedPut(ctx, name, size, time.Second)
	time.Sleep(2100 * time.Millisecond) // it has whole seconds
	return request, err
}

// inBucket returns a rig whose store is in a bucket of a server of S3, which change may change, and what that bucket is asked for.
func inBucket(t *testing.T, change func(blob.Bucket) blob.Bucket, options ...func(*rig)) (*rig, *blobtest.Faults) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", blobtest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", blobtest.SecretKey)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	b, err := dial.Open(t.Context(), &url.URL{Scheme: "s3", Host: blobtest.BucketName, RawQuery: "region=us-east-1&s3ForcePathStyle=true&endpoint=http://" + blobtest.Versity(t)}, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		b = change(b)
	}
	faults := blobtest.NewFaults(b)
	return newRig(t, append(options, func(r *rig) {
		r.bucket = bucket.New(faults, bucket.Config{Logger: r.logger()})
		r.store = r.bucket
	})...), faults
}

// wantStored checks that the bytes of a recipe are in the bucket, and nothing else that workers put there.
func (r *rig) wantStored(recipe k6x.Recipe) {
	r.t.Helper()
	entry, err := r.store.Open(r.t.Context(), recipe.Key())
	if err != nil {
		r.t.Fatal(err)
	}
	defer entry.Close()
	if got, err := io.ReadAll(entry.Body); err != nil || !bytes.Equal(got, r.make(recipe).binary) {
		r.t.Errorf("%d bytes are stored, %v", len(got), err)
	}
	r.until("what was put there is gone", func() bool { return len(blobtest.Names(r.t, r.bucket.Blobs(), "staging/")) == 0 })
}

// uploads returns how often a binary was uploaded by the service, and how often copied in the bucket.
func uploads(faults *blobtest.Faults) (puts, copies int) {
	for _, call := range faults.Calls() {
		if strings.HasPrefix(call.Name, "artifacts/") && !strings.HasSuffix(call.Name, ".json") {
			puts += map[string]int{"put": 1}[call.Method]
			copies += map[string]int{"copy": 1}[call.Method]
		}
	}
	return puts, copies
}

func TestBinariesComeByTheBucket(t *testing.T) {
	for name, c := range map[string]struct {
		change func(blob.Bucket) blob.Bucket
		before func(r *rig) func(blobtest.Call) error
		copies int
		puts   int
		again  int32  // builds beside the first
		said   string // in the log
	}{
		"put and copied": {copies: 1},
		"not to be read": {before: func(*rig) func(blobtest.Call) error {
			var first string
			return func(c blobtest.Call) error {
				if c.Method != "open" || !strings.HasPrefix(c.Name, "staging/") || first != "" && c.Name != first {
					return nil
				}
				first = c.Name
				return &net.OpError{Op: "read", Err: errors.New("connection reset")}
			}
		}, copies: 1, again: 1, said: "back=true"},
		"changed after it was checked": {before: func(r *rig) func(blobtest.Call) error {
			return func(c blobtest.Call) error {
				if c.Method != "copy" {
					return nil
				}
				name := blobtest.Names(r.t, r.bucket.Blobs(), "staging/")[0]
				return blob.PutBytes(context.Background(), r.bucket.Blobs(), name, r.make(r.recipe("world@v0.1.0")).binary, blob.PutOptions{})
			}
		}, copies: 1, puts: 1, said: "is not copied there, but uploaded"},
		"expired":          {change: func(b blob.Bucket) blob.Bucket { return expiring{b} }, puts: 1, said: "cannot be put into the service's bucket"},
		"without requests": {change: func(b blob.Bucket) blob.Bucket { return unsigned{b} }, puts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, faults := inBucket(t, c.change)
			if c.before != nil {
				faults.Before(c.before(r))
			}
			w := r.work("w1", 1, nil)
			recipe := r.recipe("hello@v0.1.0")
			if err := r.wait(r.build(recipe)); err != nil {
				t.Fatal(err)
			}
			if puts, copies := uploads(faults); puts != c.puts || copies != c.copies {
				t.Errorf("uploaded %d times, copied %d times", puts, copies)
			}
			faults.Before(nil)
			r.wantStored(recipe)
			if log := r.log.String(); !strings.Contains(log, c.said) || strings.Contains(log, "Signature=") || w.builds.Load() != 1+c.again || r.hub.Refused() != 0 {
				t.Errorf("%d builds, %d refused", w.builds.Load(), r.hub.Refused())
			}
		})
	}
}

// unsigned is a bucket to which nobody else puts anything.
type unsigned struct{ blob.Bucket }

func (unsigned) SignedPut(context.Context, string, int64, time.Duration) (blob.SignedRequest, error) {
	return blob.SignedRequest{}, errors.ErrUnsupported
}

// ask sends a report as a stranger would. There is no answer if the service has no such job, or not any more.
func ask(conn *nats.Conn, name string, o order, said report) (a answer, ok bool) {
	said.Token = o.Token
	m, err := conn.Request(fromWorker(name, o.Service), append(encode(said), '\n'), 10*time.Second)
	return a, err == nil && json.Unmarshal(m.Data, &a) == nil && !(a.Stop && said.Outcome == nil)
}

func TestAWorkerThatPutsSomethingElseIntoTheBucketIsQuarantined(t *testing.T) {
	r, _ := inBucket(t, nil, func(r *rig) { r.most = 128 << 20 })
	recipe := r.recipe("hello@v0.1.0")
	good := r.make(recipe).binary
	size := int64(len(good))
	evil := bytes.Repeat([]byte("evil"), len(good)/4+1)[:len(good)]
	for name, c := range map[string]struct {
		room  int64
		put   []byte
		built *outcome
	}{
		"other bytes":       {size, evil, &outcome{Size: size, Digest: r.digest(good)}},
		"another binary":    {size, evil, &outcome{Size: size, Digest: r.digest(evil)}},
		"another size":      {size, good, &outcome{Size: size - 1, Digest: r.digest(good)}},
		"too many bytes":    {r.most + 1, nil, nil},
		"without any build": {1, []byte("x"), &outcome{Size: 1, Digest: r.digest([]byte("x"))}},
	} {
		t.Run(name, func(t *testing.T) {
			liar := "liar-" + strings.ReplaceAll(name, " ", "-")
			r.stranger(liar, func(conn *nats.Conn, o order) {
				if c.built == nil {
					_ = conn.PublishRequest(fromWorker(liar, o.Service), conn.NewInbox(), encode(report{Token: o.Token, Room: c.room}))
					return
				}
				a, ok := ask(conn, liar, o, report{Room: c.room})
				if !ok {
					return
				}
				if a.Room == nil {
					t.Error("there is no room")
					return
				}
				if err := put(t.Context(), newPutter(), a.Room, bytes.NewReader(c.put), int64(len(c.put)), time.Minute); err != nil {
					t.Errorf("put: %v", err)
				}
				said := *c.built
				said.Staged = true
				_, _ = ask(conn, liar, o, report{Outcome: &said})
			})
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			go func() {
				for ctx.Err() == nil {
					_, _ = r.dedup.Build(ctx, builder.Job{Recipe: recipe})
				}
			}()
			r.until("it is quarantined", func() bool { return r.working(liar).State == string(Quarantined) })
			if names := blobtest.Names(t, r.bucket.Blobs(), "artifacts/"); len(names) > 0 {
				t.Errorf("there is %q", names)
			}
			leave()
			r.until("nothing is left", func() bool {
				return r.limit.Stats().Waiting == 0 && len(blobtest.Names(t, r.bucket.Blobs(), "staging/")) == 0
			})
		})
	}
}

// A service that has come meanwhile knows nothing of what was put there for another one.
func TestAServiceKnowsNothingOfRoomThatItDidNotMake(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	answers := make(chan answer, 10)
	r.stranger("w1", func(conn *nats.Conn, o order) {
		for _, said := range []report{{Room: 3}, {Outcome: &outcome{Size: 3, Digest: "x", Staged: true}}} {
			if a, ok := ask(conn, "w1", o, said); ok {
				answers <- a
			}
		}
	})
	r.build(r.recipe("hello@v0.1.0"))
	for range 2 {
		if a := <-answers; a.Room != nil || a.Stop || a.Next != 0 {
			t.Errorf("%+v", a)
		}
	}
}

func TestAWorkerIsLedNowhereElse(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s", r.Method, r.URL) }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, status)
		}))
		err := put(t.Context(), newPutter(), &blob.SignedRequest{URL: server.URL + "/?Signature=secret"}, strings.NewReader("bytes"), 5, time.Minute)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", status, err)
		}
		server.Close()
	}
	for _, url := range []string{"file:///etc/passwd", "ftp://" + elsewhere.Listener.Addr().String(), "/path", "", "http://%zz", "javascript:1"} {
		if err := put(t.Context(), newPutter(), &blob.SignedRequest{URL: url}, strings.NewReader("bytes"), 5, time.Minute); err == nil || !strings.Contains(err.Error(), "no URL of a bucket") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestABucketThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	to := &blob.SignedRequest{URL: "http://" + listener.Addr().String() + "/?Signature=secret"}
	err = put(t.Context(), newPutter(), to, bytes.NewReader(make([]byte, 64<<20)), 64<<20, 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "nothing moves") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// Binaries are not put into a bucket that was not reached a moment before; each goes to the service at once.
func TestABucketThatIsNotReachedIsNotTriedWithEachBuild(t *testing.T) {
	tries := 0
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	r, _ := inBucket(t, func(b blob.Bucket) blob.Bucket {
		return signing{b, func() blob.SignedRequest {
			tries++
			return blob.SignedRequest{URL: closed.URL + "/?Signature=secret"}
		}}
	})
	w := r.work("w1", 1, nil)
	for _, extension := range []string{"hello@v0.1.0", "hello@v0.1.1"} {
		if err := r.wait(r.build(r.recipe(extension))); err != nil {
			t.Error(err)
		}
	}
	if log := r.log.String(); tries != 1 || w.builds.Load() != 2 || strings.Contains(log, "secret") {
		t.Errorf("it was tried %d times for %d builds", tries, w.builds.Load())
	}
}

// A worker for whose bucket a proxy answers that it has taken everything is no liar: it builds again, and sends that and what comes after.
func TestAWorkerWhoseProxyAnswersForTheBucketSendsItsBinaries(t *testing.T) {
	tries := 0
	portal := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer portal.Close()
	r, _ := inBucket(t, func(b blob.Bucket) blob.Bucket {
		return signing{b, func() blob.SignedRequest {
			tries++
			return blob.SignedRequest{URL: portal.URL + "/?Signature=secret"}
		}}
	})
	w := r.work("w1", 1, nil)
	for _, extension := range []string{"hello@v0.1.0", "hello@v0.1.1"} {
		if err := r.wait(r.build(r.recipe(extension))); err != nil {
			t.Error(err)
		}
	}
	if log := r.log.String(); tries != 1 || w.builds.Load() != 3 || r.working("w1").State == string(Quarantined) || strings.Contains(log, "secret") {
		t.Errorf("it was tried %d times in %d builds, and is %+v", tries, w.builds.Load(), r.working("w1"))
	}
}

// signing is a bucket whose signed requests are made elsewhere.
type signing struct {
	blob.Bucket
	request func() blob.SignedRequest
}

func (b signing) SignedPut(context.Context, string, int64, time.Duration) (blob.SignedRequest, error) {
	return b.request(), nil
}

// A rebuild is only compared: it goes straight to the service.
func TestWhatIsOnlyComparedIsNotPutIntoTheBucket(t *testing.T) {
	r, faults := inBucket(t, nil)
	r.work("w1", 1, nil)
	job := builder.Job{Recipe: r.recipe("hello@v0.1.0")}
	if err := r.wait(r.build(job.Recipe)); err != nil {
		t.Fatal(err)
	}
	faults.Calls()
	job.Rebuild = true
	if _, err := r.dedup.Build(t.Context(), job); err != nil {
		t.Error(err)
	}
	for _, call := range faults.Calls() {
		if call.Method == "sign" || call.Method == "copy" {
			t.Errorf("%+v", call)
		}
	}
	if n := len(r.of(event.Started)); n != 2 {
		t.Errorf("%d builds", n)
	}
}

// Of what is staged and what was sent one counts: bytes that were sent first would be in front of what is checked.
func TestBytesAreStagedOrSent(t *testing.T) {
	r, _ := inBucket(t, nil)
	recipe := r.recipe("hello@v0.1.0")
	binary := r.make(recipe).binary
	conn := r.dialed("liar")
	stopped := make(chan bool, 1)
	if _, err := conn.Subscribe(toWorker("liar"), func(m *nats.Msg) {
		var o order
		if err := json.Unmarshal(m.Data, &o); err != nil || o.Stop {
			return
		}
		sent, err := conn.Request(fromWorker("liar", o.Service), append(append(encode(report{Token: o.Token}), '\n'), binary[:100]...), 10*time.Second)
		if err != nil {
			t.Error(err)
		}
		var a answer
		_ = json.Unmarshal(sent.Data, &a)
		rest := binary[100:]
		asked, _ := ask(conn, "liar", o, report{Offset: a.Next, Room: int64(len(rest))})
		if asked.Room == nil {
			t.Error("there is no room")
			return
		}
		if err := put(t.Context(), http.DefaultClient, asked.Room, bytes.NewReader(rest), int64(len(rest)), time.Minute); err != nil {
			t.Error(err)
		}
		end, _ := ask(conn, "liar", o, report{Offset: a.Next, Outcome: &outcome{Lock: r.make(recipe).build.Lock, Staged: true, Size: int64(len(rest)), Digest: r.digest(rest)}})
		stopped <- end.Stop
		conn.Close() // which loses the build to another
	}); err != nil {
		t.Fatal(err)
	}
	r.greet(conn, "liar", 1)
	done := r.build(recipe)
	if <-stopped {
		t.Error("it was taken as delivered")
	}
	r.work("honest", 1, nil)
	if err := r.wait(done); err != nil {
		t.Error(err)
	}
}
