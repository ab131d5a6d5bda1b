package container

import (
	"testing"

	"k6x/builder"
)

func TestOutputIsTheSameWhetherOrNotAnybodyWatches(t *testing.T) {
	said := "internal/abi\ngo: downloading a v1\n# example.com/x\nexample.com/x@v1/a.go:1:2: no\nget \"x.example/y\": found meta tag\n# cd /cache; git ls-remote\nk6\n"
	w := watcher{ctx: builder.WithProgress(t.Context(), func(builder.Progress) {})}
	if got, want := w.withoutPackages(said), "go: downloading a v1\n# example.com/x\nexample.com/x@v1/a.go:1:2: no\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	unwatched := watcher{ctx: t.Context()}
	if got := unwatched.withoutPackages(said); got != said || len(unwatched.flags()) != 0 {
		t.Errorf("%q with %v", got, unwatched.flags())
	}
}
