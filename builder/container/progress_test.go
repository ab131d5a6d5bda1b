package container

import (
	"testing"

	"k6x/event"
)

func TestOutputIsTheSameWhetherOrNotAnybodyWatches(t *testing.T) {
	said := "internal/abi\ngo: downloading a v1\n# example.com/x\nexample.com/x@v1/a.go:1:2: no\nget \"x.example/y\": found meta tag\n# cd /cache; git ls-remote\nk6\n"
	w := watcher{report: func(event.Event) {}}
	if got, want := w.withoutPackages(said), "go: downloading a v1\n# example.com/x\nexample.com/x@v1/a.go:1:2: no\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	unwatched := watcher{}
	if got := unwatched.withoutPackages(said); got != said || len(unwatched.flags()) != 0 {
		t.Errorf("%q with %v", got, unwatched.flags())
	}
}
