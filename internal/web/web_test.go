package web

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestReadAllIsBounded(t *testing.T) {
	for size, fits := range map[int]bool{0: true, 10: true, 11: false, 1000: false} {
		if data, err := ReadAll(strings.NewReader(strings.Repeat("x", size)), 10); (err == nil) != fits || fits && len(data) != size {
			t.Errorf("%d bytes: %d, %v", size, len(data), err)
		}
	}
}

func TestNothingSecretIsShown(t *testing.T) {
	u, err := url.Parse("https://me:secret@proxy.test/path?token=secret")
	if err != nil {
		t.Fatal(err)
	}
	if got := Shown(u); got != "https://proxy.test/path?…" {
		t.Errorf("shown is %s", got)
	}
	cause := errors.New("refused")
	if got := WithoutURL(&url.Error{Op: "Get", URL: u.String(), Err: cause}); got != cause {
		t.Errorf("left is %v", got)
	}
	if got := WithoutURL(cause); got != cause {
		t.Errorf("left of another error is %v", got)
	}
}
