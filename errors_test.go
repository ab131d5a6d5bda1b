package k6x_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"k6x"
)

func TestKindOfFindsTheKindThroughWrapping(t *testing.T) {
	for _, c := range []struct {
		err  error
		want k6x.Kind
	}{
		{k6x.Errorf(k6x.Conflict, "a and b"), k6x.Conflict},
		{fmt.Errorf("while resolving: %w", k6x.Errorf(k6x.NotFound, "x")), k6x.NotFound},
		{fmt.Errorf("a: %w", context.Canceled), k6x.Canceled},
		{context.DeadlineExceeded, k6x.Timeout},
		{fs.ErrNotExist, k6x.Internal},
	} {
		if got := k6x.KindOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	err := k6x.Errorf(k6x.NoSpace, "cannot store: %w", fs.ErrPermission)
	if !errors.Is(err, fs.ErrPermission) {
		t.Error("the cause is lost")
	}
}

func TestAsErrorHidesInsides(t *testing.T) {
	e := k6x.AsError(fmt.Errorf("open /secret/file: %w", fs.ErrPermission))
	if e.Message != "something went wrong in this service" || !errors.Is(e, fs.ErrPermission) {
		t.Errorf("%q, cause %v", e.Message, e.Err)
	}
}

func TestAdviceSaysWhenToTryAgain(t *testing.T) {
	for after, want := range map[time.Duration]string{
		0: "Do this.", time.Second: "Do this. Try again in a second.", 1500 * time.Millisecond: "Do this. Try again in 2 seconds.",
		time.Minute: "Do this. Try again in a minute.", 90 * time.Second: "Do this. Try again in 90 seconds.", 432 * time.Second: "Do this. Try again in 8 minutes.",
	} {
		if got := k6x.Errorf(k6x.Busy, "no").WithHint("Do this.").WithRetry(after).Advice(); got != want {
			t.Errorf("%s: %s", after, got)
		}
	}
	if got := k6x.Errorf(k6x.Busy, "no").WithRetry(time.Minute).Advice(); got != "Try again in a minute." {
		t.Errorf("without a hint: %s", got)
	}
}
