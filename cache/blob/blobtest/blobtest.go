// Package blobtest has faults for buckets and the real servers that drivers are tested against; its own tests are the conformance
// suite of [blob.Bucket], which all drivers pass.
package blobtest

import (
	"slices"
	"testing"

	"k6x/cache/blob"
)

// Names returns the names in a bucket that begin with prefix, in order.
func Names(t testing.TB, b blob.Bucket, prefix string) (names []string) {
	t.Helper()
	for info, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List of %q: %v", prefix, err)
		}
		names = append(names, info.Name)
	}
	slices.Sort(names)
	return names
}
