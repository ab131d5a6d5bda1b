package gs

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"k6x/cache/blob"
)

// The answers are those of the documentation of the service.
func TestErrorsOfTheServiceAreToldApart(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   blob.Fault
	}{
		{401, `{"error":{"code":401,"message":"Invalid Credentials","errors":[{"reason":"authError"}]}}`, blob.Credentials},
		{403, `{"error":{"code":403,"message":"x does not have storage.objects.create access","errors":[{"reason":"forbidden"}]}}`, ""},
		{403, `{"error":{"code":403,"message":"x","errors":[{"reason":"userRateLimitExceeded"}]}}`, blob.Throttled},
		{404, `{"error":{"code":404,"message":"The specified bucket does not exist.","errors":[{"reason":"notFound"}]}}`, blob.NoBucket},
		{404, `{"error":{"code":404,"message":"No such object: bucket/x","errors":[{"reason":"notFound"}]}}`, ""},
		{502, `<html>bad gateway`, ""},
	} {
		if e := explain(c.status, nil, []byte(c.body)); e.Fault != c.want || e.Message == "" {
			t.Errorf("%s: got %q, want %q", c.body, e.Fault, c.want)
		}
	}
}

func TestErrorsOfTheServerOfTokensAreToldApart(t *testing.T) {
	now := http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}
	for _, c := range []struct {
		status  int
		header  http.Header
		message string
		want    blob.Fault
	}{
		{400, now, "Invalid JWT Signature.", blob.Credentials},
		{400, now, "Token has been expired or revoked.", blob.Expired},
		{400, http.Header{"Date": {time.Now().UTC().Add(-time.Hour).Format(http.TimeFormat)}}, "Invalid JWT: check your iat and exp values", blob.Clock},
		{503, now, "later", ""},
	} {
		err := refused(&oauth2.RetrieveError{Response: &http.Response{StatusCode: c.status, Header: c.header}, ErrorCode: "invalid_grant", ErrorDescription: c.message})
		e, ok := errors.AsType[*blob.ServiceError](err)
		if !ok || e.Fault != c.want {
			t.Errorf("%s: got %v with %q, want %q", c.message, err, e.Fault, c.want)
		}
	}
	if other := errors.New("no network"); refused(other) != other {
		t.Error("an error without an answer is another one")
	}
}
