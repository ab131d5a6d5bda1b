package mem

import (
	"testing"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
)

func TestBucketKeepsTheContract(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Bucket { return new(Bucket) })
}

func TestPartOfABucketKeepsTheContract(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Bucket { return blob.Prefixed(new(Bucket), "some/where/") })
}
