package mem_test

import (
	"testing"
	"time"

	"k6x/cache"
	"k6x/cache/cachetest"
	"k6x/cache/mem"
)

func TestStoreKeepsTheContract(t *testing.T) {
	cachetest.Run(t, func(*testing.T) cache.Store { return mem.New(mem.Config{}) })
}

func TestStoreKeepsItsLimit(t *testing.T) {
	cachetest.RunLimited(t, func(_ *testing.T, limit int64, clock func() time.Time) cache.Limited {
		return mem.New(mem.Config{Size: limit, Clock: clock})
	})
}
