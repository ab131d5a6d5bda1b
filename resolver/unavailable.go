package resolver

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"k6x"
	"k6x/internal/gomod"
)

// unavailable is the function of that name; where nothing is fetched it says which versions of the module there are.
func (m *modules) unavailable(modulePath, item string, err error) error {
	said := unavailable(item, err)
	if refused, ok := errors.AsType[*gomod.Refusal](err); !ok || refused.Status != 0 {
		return said
	}
	const most = 5
	had := "no version of it"
	if versions := m.atHand(modulePath); len(versions) > 0 {
		had = strings.Join(versions[:min(most, len(versions))], ", ")
	}
	return k6x.AsError(said).WithHint("At hand: %s. What another machine has, k6x cache export and import bring.", had)
}

// What git and ssh say of a repository that is not open to all, or that they may not go to in this way.
var (
	forMembers = regexp.MustCompile(`could not read (Username|Password)|terminal prompts disabled|Authentication failed|Permission denied|` +
		`Access denied|Host key verification failed|returned error: 40[13]|40[13] (Unauthorized|Forbidden)`)
	notAllowed = regexp.MustCompile(`transport '([a-z+]{1,20})' not allowed`)
)

// unavailable says for users why a module, or one version of it, could not be had. What
// is definite stays so.
func unavailable(item string, err error) error {
	if useless, ok := errors.AsType[*gomod.Useless](err); ok {
		e := k6x.Errorf(k6x.NotFound, "%s %s", item, useless.Reason).WithCause(err)
		if useless.Declared != "" {
			e.Hint = fmt.Sprintf("Ask for %s, or build a fork in its place where you are: k6x build --replace %[1]s=%s.", useless.Declared, item)
		}
		return e
	}
	if cause, ok := errors.AsType[*k6x.Error](err); ok {
		return k6x.Errorf(cause.Kind, "%s cannot be fetched: %s", item, cause.Message).WithCause(err).WithRetry(cause.RetryAfter)
	}
	refused, ok := errors.AsType[*gomod.Refusal](err)
	switch {
	case errors.Is(err, gomod.ErrAbsent):
		return k6x.Errorf(k6x.NotFound, "the module proxy does not know %s", item).WithCause(err).
			WithHint("If it is on no module proxy, the operator has to name it, as with --direct 'git.example.com/*'.")
	case ok && refused.Status == 0:
		return k6x.Errorf(k6x.Unavailable, "%s is not at hand, and nothing is fetched: GOPROXY is off", item).WithCause(err).WithRetry(-1)
	case ok:
		return k6x.Errorf(k6x.Unavailable, "the module proxy refuses %s (%d)", item, refused.Status).WithCause(err)
	}
	if errors.Is(err, gomod.ErrDirect) {
		text := err.Error()
		if match := notAllowed.FindStringSubmatch(text); match != nil {
			return k6x.Errorf(k6x.Unavailable, "%s cannot be fetched: git is set up to use %s for it, which is not allowed here", item, match[1]).WithCause(err).
				WithHint("Allow it with GIT_ALLOW_PROTOCOL=https:%s, by --env of a service or --build-env of k6x.", match[1]).WithRetry(-1)
		}
		if forMembers.MatchString(text) {
			return k6x.Errorf(k6x.NotFound, "%s is not there, or only for those with credentials, which its host asks for", item).WithCause(err).
				WithHint("A service has those of --env NETRC=FILE, k6x --builder native those of your git and ssh.")
		}
	}
	return k6x.Errorf(k6x.Unavailable, "%s cannot be fetched at the moment", item).WithCause(err).WithRetry(retryAfter)
}

const retryAfter = 10 * time.Second
