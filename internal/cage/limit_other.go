//go:build !linux

package cage

import "time"

func limit(int, Limits) {}

func usage(int) (memory int64, cpu time.Duration) { return 0, 0 }
