package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/cachetest"
)

// onEachDriver runs a test on a store in an empty bucket of each kind that this process can have, with faults.
func onEachDriver(t *testing.T, test func(t *testing.T, s *Store, faults *blobtest.Faults)) {
	for name, open := range map[string]func(t *testing.T) string{
		"memory":             func(*testing.T) string { return "mem://" },
		"memory without MD5": func(*testing.T) string { return "mem://?nomd5=1" },
		"directory": func(t *testing.T) string {
			return (&url.URL{Scheme: "file", Path: filepath.ToSlash(t.TempDir())}).String()
		},
		"S3": func(t *testing.T) string { return newS3(t).url("") },
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Dial(t.Context(), open(t), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			faults := blobtest.NewFaults(b)
			test(t, New(faults, Config{Patience: 5 * time.Second}), faults)
		})
	}
}

var errBroken = errors.New("connection reset")

func broken(blobtest.Call) error { return errBroken }

// Whatever call fails, the error has words, and what is there is as it was.
func TestCallsThatFail(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store, faults *blobtest.Faults) {
		first := mustPut(t, s, 1, 1000)
		before := names(t, s, "")
		faults.Before(broken)
		_, open := s.Open(t.Context(), key(1))
		_, lookup := s.Lookup(t.Context(), first.Path)
		_, bind := s.Bind(t.Context(), first.Path, key(1))
		_, put := s.Put(t.Context(), cachetest.Recipe(2), cachetest.Fill([]byte("binary")))
		_, sign := s.SignedURL(t.Context(), key(1))
		for what, err := range map[string]error{"Open": open, "Lookup": lookup, "Bind": bind, "Put": put, "SignedURL": sign, "Trim": s.Trim(t.Context())} {
			if !errors.Is(err, errBroken) {
				t.Errorf("%s: got %v", what, err)
			}
			wantUnavailable(t, what, err)
		}
		faults.Before(nil)
		if after := names(t, s, ""); strings.Join(before, " ") != strings.Join(after, " ") {
			t.Errorf("the bucket has %v, had %v", after, before)
		}
		wantBytes(t, s, 1, 1000)
	})
}

// Each answer to a Put of the store is lost in turn: nothing is left that is half, and the next Put works.
func TestAnswersThatAreLost(t *testing.T) {
	for _, lost := range []string{recordTag, "", "paths/"} {
		onEachDriver(t, func(t *testing.T, s *Store, faults *blobtest.Faults) {
			faults.After(func(c blobtest.Call) error {
				if c.Method == "put" && strings.Contains(c.Name, lost) {
					return errBroken
				}
				return nil
			})
			artifact, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill(cachetest.Bytes(1, 1000)))
			if err == nil {
				_, err = s.Bind(t.Context(), artifact.Path, key(1))
			}
			if err != nil {
				wantUnavailable(t, "Put and Bind", err)
			}
			faults.After(nil)
			mustPut(t, s, 1, 1000)
			wantBytes(t, s, 1, 1000)
			if bound, err := s.Bind(t.Context(), artifact.Path, key(1)); artifact.Path != "" && (err != nil || bound != key(1)) {
				t.Errorf("Bind: %s, %v", bound, err)
			}
		})
	}
}

func TestConditionalWritesThatAreContendedAreTriedAgain(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store, faults *blobtest.Faults) {
		tries := 0
		faults.Before(func(c blobtest.Call) error {
			if c.Method == "put" && strings.HasSuffix(c.Name, recordTag) {
				if tries++; tries < 3 {
					return &blob.ServiceError{Status: 409, Code: "ConditionalRequestConflict"}
				}
			}
			return nil
		})
		mustPut(t, s, 1, 1000)
		if tries != 3 {
			t.Errorf("%d tries, want 3", tries)
		}
	})
}

func TestDownloadsGoOnWhereTheyBroke(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store, faults *blobtest.Faults) {
		mustPut(t, s, 1, 100_000)
		cuts := 0
		faults.Cut(func(name string, at int64) bool {
			if !strings.HasSuffix(name, recordTag) && at > int64(20_000*(cuts+1)) && cuts < 3 {
				cuts++
				return true
			}
			return false
		})
		wantBytes(t, s, 1, 100_000)
		if cuts != 3 {
			t.Errorf("%d cuts", cuts)
		}
	})
}

// What an error means does not depend on the driver.
func TestErrorsOfABucketMeanTheSame(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind k6x.Kind
		text string
	}{
		{fs.ErrPermission, k6x.Unavailable, "refuses access"},
		{&blob.ServiceError{Status: 403}, k6x.Unavailable, "refuses access"},
		{blob.ErrFull, k6x.NoSpace, "no room"},
		{&blob.ServiceError{Status: 507}, k6x.NoSpace, "no room"},
		{&blob.ServiceError{Status: 500, Message: "token=abcdef"}, k6x.Unavailable, "does not answer"},
		{&blob.ServiceError{Status: 400, Fault: blob.Expired}, k6x.Unavailable, "have expired"},
		{&blob.ServiceError{Status: 403, Fault: blob.Credentials}, k6x.Unavailable, "does not accept the credentials"},
		{&blob.ServiceError{Status: 403, Fault: blob.Clock}, k6x.Unavailable, "clocks differ"},
		{&blob.ServiceError{Status: 404, Fault: blob.NoBucket}, k6x.Unavailable, "does not exist"},
		{fmt.Errorf("%w: none", blob.ErrCredentials), k6x.Unavailable, "does not accept the credentials"},
	} {
		s := mustOpen(t, Config{URL: "mem://"})
		faults := blobtest.NewFaults(s.bucket)
		s.bucket = faults
		faults.Before(func(blobtest.Call) error { return c.err })
		_, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill([]byte("binary")))
		if k6x.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) || strings.Contains(k6x.AsError(err).Err.Error(), "abcdef") {
			t.Errorf("%v: got %v of kind %v with cause %v", c.err, err, k6x.KindOf(err), k6x.AsError(err).Err)
		}
		faults.Before(func(blobtest.Call) error { return &blob.ServiceError{Status: 404} })
		if _, err := s.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	}
}

// A question takes a service far away some 20 ms, so they are counted.
func TestNewBinaryTakesFewQuestions(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store, faults *blobtest.Faults) {
		faults.Calls()
		artifact := mustPut(t, s, 1, 1000)
		var asked []string
		for _, c := range faults.Calls() {
			if c.Name != s.binary(key(1), artifact.Digest) { // that is no small one
				asked = append(asked, c.Method+" "+c.Name)
			}
		}
		record, path := s.record(key(1)), s.binding(artifact.Path)
		want := []string{"open " + record, "put " + record, "put " + path}
		if strings.Join(asked, "\n") != strings.Join(want, "\n") {
			t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
		}
	})
}
