package web

import (
	"errors"
	"net/url"
	"testing"
)

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
