package resolver

import (
	"fmt"
	"strings"
	"testing"

	"k6x"
	"k6x/internal/gomod"
)

// Waiting does not help where credentials are missing: the answer says which, and how they are given.
func TestAPrivateRepositoryIsNoOutage(t *testing.T) {
	for said, want := range map[string]string{
		"fatal: could not read Username for 'https://git.test': terminal prompts disabled":               "--env NETRC=FILE",
		"fatal: Authentication failed for 'https://git.test/x/'":                                         "--env NETRC=FILE",
		"git@git.test: Permission denied (publickey).":                                                   "--builder native",
		"Host key verification failed.":                                                                  "--builder native",
		"fatal: unable to access 'https://git.test/x/': The requested URL returned error: 403":           "--env NETRC=FILE",
		"unrecognized import path \"git.test/x\": reading https://git.test/x?go-get=1: 401 Unauthorized": "--env NETRC=FILE",
		"fatal: transport 'ssh' not allowed":                                                             "GIT_ALLOW_PROTOCOL=https:ssh",
	} {
		err := k6x.AsError(unavailable("git.test/x@v1.0.0", fmt.Errorf("%w: go list -m: exit status 1: %s", gomod.ErrDirect, said)))
		if !strings.Contains(err.Advice(), want) || strings.Contains(err.Message+err.Advice(), "moment") || err.RetryAfter > 0 {
			t.Errorf("%s: %s: %s\n%s", said, err.Kind, err.Message, err.Advice())
		}
	}
	err := k6x.AsError(unavailable("git.test/x@v1.0.0", fmt.Errorf("%w: go list -m: exit status 1: connection reset", gomod.ErrDirect)))
	if err.Kind != k6x.Unavailable || err.RetryAfter <= 0 {
		t.Errorf("an outage: %+v", err)
	}
}
