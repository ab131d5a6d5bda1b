package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A hundred clients, spread over two services with one bucket, ask for each of three
// binaries that nobody asked for before.
func TestReplicasBuildEachKeyOnce(t *testing.T) {
	forFull(t)
	t.Parallel()
	onS3(t, func(t *testing.T, endpoint string) {
		const clients = 100
		replicas := []*k6x{replica(t, endpoint), replica(t, endpoint)}
		lists := []string{"k6@v1.8.1,k6/x/one@v0.1.0", "k6@v1.8.1,k6/x/two@v0.2.0", "k6@v1.8.1,k6/x/many@v0.1.0,k6/x/many/more@v0.1.0"}
		tags := make([]sync.Map, len(lists))
		var all sync.WaitGroup
		for i := range clients {
			for k, list := range lists {
				url := replicas[(i+k)%2].url + host + list
				all.Go(func() {
					tag, err := drain(url)
					if err != nil {
						t.Errorf("%s: %v", url, err)
					}
					tags[k].Store(tag, true)
				})
			}
		}
		all.Wait()
		for k, list := range lists {
			answers := 0
			tags[k].Range(func(any, any) bool { answers++; return true })
			if answers != 1 {
				t.Errorf("%d different answers for %s", answers, list)
			}
			if a, b := fetch(t, replicas[0].url+host+list), fetch(t, replicas[1].url+host+list); a.digest() != b.digest() {
				t.Errorf("%s and %s for %s", a.digest(), b.digest(), list)
			}
		}
		if first, second := replicas[0].metric(t, "k6x_builds_total"), replicas[1].metric(t, "k6x_builds_total"); first+second != float64(len(lists)) {
			t.Errorf("%v and %v builds, want %d in all", first, second, len(lists))
		}
		for _, s := range replicas { // both know what came of all builds
			if ended := outcomes(t, s, len(lists)); ended["built"] != len(lists) || len(ended) != 1 {
				t.Errorf("results: %v", ended)
			}
		}
		for _, s := range replicas {
			if peak := s.peakMemory(t); peak > 200<<20 {
				t.Errorf("a service took %d MiB", peak>>20)
			} else {
				t.Logf("peak memory %d MiB, %v builds", peak>>20, s.metric(t, "k6x_builds_total"))
			}
			if found := storeLeftovers(t, s.cache); len(found) > 0 {
				t.Errorf("left over: %v", found)
			}
		}
		eventually(t, "no lease is left, and nothing of builds that ran", func() bool {
			return len(objects(t, endpoint, "leases/")) == 0 && len(objects(t, endpoint, "running/builds/"))+len(objects(t, endpoint, "running/events/")) == 0
		})
		if found := objects(t, endpoint, "artifacts/"); len(found) != 2*len(lists) {
			t.Errorf("the bucket has %v", found)
		}
	})
}

// drain downloads a binary to nowhere and returns its ETag. It is an error if it is not whole.
func drain(url string) (tag string, err error) {
	resp, err := anyCertificate().Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || n != resp.ContentLength) {
		err = fmt.Errorf("%s, %d of %d bytes", resp.Status, n, resp.ContentLength)
	}
	return resp.Header.Get("Etag"), err
}

// A service is killed in the middle of a build that it has the lease of. Another one, where
// somebody waits for the same, takes over; and where that build is followed, it ends.
func TestReplicaIsKilledWhileItBuilds(t *testing.T) {
	forFull(t)
	t.Parallel()
	onS3(t, func(t *testing.T, endpoint string) {
		flags, list, open := gate(t)
		holder, other := replica(t, endpoint, flags...), replica(t, endpoint, flags...)
		asked := make(chan error, 1)
		go func() {
			_, err := drain(holder.url + host + list)
			asked <- err
		}()
		eventually(t, "the first one builds", func() bool { return holder.metric(t, "k6x_builds_running") == 1 })
		var shown []string
		eventually(t, "the other one is shown that", func() bool {
			shown = objects(t, endpoint, "running/builds/")
			return len(shown) == 1 && len(objects(t, endpoint, "running/events/")) > 0
		})
		id := strings.TrimPrefix(shown[0], "running/builds/")
		var build struct{ Key, Outcome, Error string }
		if err := json.Unmarshal(get(t, other.url+"/builds/"+id).body, &build); err != nil || build.Outcome != "running" {
			t.Fatalf("%v: %+v", err, build)
		}
		events, err := http.Get(other.url + "/builds/" + id + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer events.Body.Close()
		lease := "leases/" + build.Key + "/"
		if all := objects(t, endpoint, lease); !slices.Equal(all, []string{lease + "1"}) {
			t.Fatalf("the leases are %v", all)
		}
		got := make(chan error, 1)
		go func() {
			_, err := drain(other.url + host + list)
			got <- err
		}()
		holder.kill()
		if err := <-asked; err == nil {
			t.Fatal("the killed one has answered")
		}
		eventually(t, "the other one takes the lease", func() bool {
			return slices.Contains(objects(t, endpoint, lease), lease+"2")
		})
		told, err := io.ReadAll(events.Body)
		if err != nil || !strings.Contains(string(told), `"type":"started"`) || !strings.Contains(string(told), `"error":"the service ended before the build did"`) {
			t.Errorf("%v: the events are\n%s", err, told)
		}
		if aborted := get(t, other.url+"/builds?outcome=aborted").text(); strings.Count(aborted, id) != 1 {
			t.Errorf("of the build that was killed there is %s", aborted)
		}
		open()
		if err := <-got; err != nil {
			t.Error(err)
		}
		fetch(t, other.url+host+list)
		if builds := other.metric(t, "k6x_builds_total"); builds != 1 {
			t.Errorf("%v builds", builds)
		}
		eventually(t, "nothing of it is left", func() bool {
			return len(objects(t, endpoint, "leases/")) == 0 && len(objects(t, endpoint, "running/builds/"))+len(objects(t, endpoint, "running/events/")) == 0
		})
	})
}

// inTheMiddle is a number of bytes that is some way into a binary.
const inTheMiddle = 20 << 20

// The connections to the bucket break while a binary goes up: once, which nobody has to
// notice, and for good.
func TestConnectionsToTheBucketBreakInAnUpload(t *testing.T) {
	forFull(t)
	t.Parallel()
	onS3(t, func(t *testing.T, endpoint string) {
		bucket, near := newWire(t, endpoint)
		s := replica(t, near)
		one, two := s.url+host+"k6@v1.8.1,k6/x/one@v0.1.0", s.url+host+"k6@v1.8.1,k6/x/two@v0.2.0"
		bucket.cutAfter(up, inTheMiddle, false)
		fetch(t, one)
		if !bucket.wasCut() {
			t.Fatal("nothing was cut")
		}
		// What cannot be uploaded is sent all the same, not to be cached, and uploaded once the bucket is there again.
		bucket.cutAfter(up, inTheMiddle, true)
		if a := get(t, two); a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" || !bucket.wasCut() {
			t.Errorf("cut for good: %d, %v\n%s", a.status, a.header, a.text())
		}
		bucket.mend()
		for get(t, two).header.Get("Cache-Control") == "no-store" {
			<-time.After(time.Second)
		}
		// What is in the bucket is whole, too.
		other := replica(t, endpoint)
		if up, down := fetch(t, two), fetch(t, other.url+host+"k6@v1.8.1,k6/x/two@v0.2.0"); up.digest() != down.digest() || other.metric(t, "k6x_builds_total") != 0 {
			t.Errorf("%s went up, %s comes down, %v builds", up.digest(), down.digest(), other.metric(t, "k6x_builds_total"))
		}
		if found := storeLeftovers(t, s.cache); len(found) > 0 {
			t.Errorf("left over: %v", found)
		}
	})
}

// The connections break while a binary comes down.
func TestConnectionsToTheBucketBreakInADownload(t *testing.T) {
	forFull(t)
	t.Parallel()
	onS3(t, func(t *testing.T, endpoint string) {
		const list = "k6@v1.8.1,k6/x/one@v0.1.0"
		want := fetch(t, replica(t, endpoint).url+host+list)
		bucket, near := newWire(t, endpoint)
		once, forGood := replica(t, near), replica(t, near)
		bucket.cutAfter(down, inTheMiddle, false)
		if got := fetch(t, once.url+host+list); got.digest() != want.digest() || !bucket.wasCut() {
			t.Errorf("%s, want %s; cut: %v", got.digest(), want.digest(), bucket.wasCut())
		}
		if got := wholeOrUnavailable(t, bucket, forGood.url+host+list); got.digest() != want.digest() {
			t.Errorf("%s, want %s", got.digest(), want.digest())
		}
		for _, s := range []*k6x{once, forGood} {
			if builds, found := s.metric(t, "k6x_builds_total"), storeLeftovers(t, s.cache); builds != 0 || len(found) > 0 {
				t.Errorf("%v builds of what is in the bucket, left over: %v", builds, found)
			}
		}
	})
}

// wholeOrUnavailable asks for a binary while the wire is cut for good in the middle of it as it comes down,
// which has to be told, and then again.
func wholeOrUnavailable(t *testing.T, bucket *wire, url string) (whole answer) {
	t.Helper()
	bucket.cutAfter(down, inTheMiddle, true)
	a, err := try(t.Context(), http.MethodGet, url)
	if !bucket.wasCut() {
		t.Fatal("nothing was cut")
	}
	switch { // what is sent as it arrives is cut short, so that no client takes it for the whole
	case err != nil && a.status != http.StatusOK:
		t.Errorf("cut for good: %v after %d", err, a.status)
	case err == nil && (a.status != http.StatusServiceUnavailable || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Etag") != "" ||
		strings.Contains(a.text(), accessKey) || strings.Contains(a.text(), bucket.listener.Addr().String())):
		t.Errorf("cut for good: %d, %v\n%s", a.status, a.header, a.text())
	}
	bucket.mend()
	return fetch(t, url)
}

func TestDownloadsAreRedirectedToTheBucket(t *testing.T) {
	forFull(t)
	t.Parallel()
	onS3(t, func(t *testing.T, endpoint string) {
		s := replica(t, endpoint, "--redirect-downloads")
		url := s.url + host + "k6@v1.8.1,k6/x/one@v0.1.0"
		for _, when := range []string{"built just now", "there"} {
			a := get(t, url)
			target := a.header.Get("Location")
			if a.status != http.StatusTemporaryRedirect || a.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(target, endpoint+"/"+bucketName+"/") {
				t.Fatalf("%s: %d to %s, %s\n%s", when, a.status, target, a.header.Get("Cache-Control"), a.text())
			}
			there := get(t, target)
			head, err := try(t.Context(), http.MethodHead, url)
			if err != nil || head.status != http.StatusOK {
				t.Fatalf("HEAD: %d, %v", head.status, err)
			}
			if there.status != http.StatusOK || head.header.Get("Etag") != `"`+there.digest()+`"` {
				t.Errorf("%s: %d with digest %s, want %s", when, there.status, there.digest(), head.header.Get("Etag"))
			}
			if same := get(t, url, "If-None-Match: "+head.header.Get("Etag")); same.status != http.StatusNotModified {
				t.Errorf("If-None-Match: %d", same.status)
			}
		}
		// Programs follow.
		file := filepath.Join(t.TempDir(), "k6")
		out, err := exec.Command(world.k6build, "remote", "-s", s.url, "-k", "v1.8.1", "-d", "k6/x/one", "-o", file).CombinedOutput()
		if err != nil {
			t.Errorf("k6build remote: %v\n%s", err, out)
		}
		newUser(t, s.url).works(`import { name } from "k6/x/one"; export default function () { console.log("found " + name()); }`, "found k6/x/one")
	})
}
