package azblob

import (
	"net/http"
	"testing"

	"k6x/cache/blob"
)

// The answers are those of the documentation of the service.
func TestErrorsOfTheServiceAreToldApart(t *testing.T) {
	const denied = `<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate the request. ` +
		`Make sure the value of Authorization header is formed correctly including the signature.</Message><AuthenticationErrorDetail>`
	for body, want := range map[string]blob.Fault{
		denied + `The MAC signature found in the HTTP request 'x' is not the same as any computed signature.</AuthenticationErrorDetail></Error>`:                                           blob.Credentials,
		denied + `Request date header too old: 'Mon, 01 Jan 2024 00:00:00 GMT'</AuthenticationErrorDetail></Error>`:                                                                         blob.Clock,
		denied + `Signature not valid in the specified time frame: Start [x] - Expiry [y] - Current [z]</AuthenticationErrorDetail></Error>`:                                                blob.Expired,
		`<Error><Code>InvalidAuthenticationInfo</Code><Message>x</Message><AuthenticationErrorDetail>Lifetime validation failed. The token is expired.</AuthenticationErrorDetail></Error>`: blob.Expired,
		`<Error><Code>ContainerNotFound</Code><Message>The specified container does not exist.</Message></Error>`:                                                                           blob.NoBucket,
		`<Error><Code>BlobNotFound</Code><Message>The specified blob does not exist.</Message></Error>`:                                                                                     "",
		`<Error><Code>AuthorizationPermissionMismatch</Code><Message>x</Message></Error>`:                                                                                                   "",
	} {
		if e := explain(403, http.Header{}, []byte(body)); e.Fault != want || e.Message == "" {
			t.Errorf("%s: got %q, want %q", body, e.Fault, want)
		}
	}
	if e := explain(403, http.Header{"X-Ms-Error-Code": {"AuthenticationFailed"}}, nil); e.Fault != blob.Credentials {
		t.Errorf("without a body: got %q", e.Fault)
	}
}
