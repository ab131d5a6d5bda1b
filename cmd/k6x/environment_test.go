package main

import (
	"slices"
	"testing"
)

// A script can read the environment of k6, so tokens are not in it.
func TestTheEnvironmentOfK6HasNoTokens(t *testing.T) {
	got := environment([]string{"A=1", "K6X_BUILDER_TOKEN=secret", "K6X_BES_HEADER=authorization=secret", "K6_BINARY_PROVISIONING=true"})
	want := []string{"A=1", "K6_BINARY_PROVISIONING=true", "K6_AUTO_EXTENSION_RESOLUTION=false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
