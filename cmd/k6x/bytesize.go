package main

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// byteSize is a flag for a number of bytes, as 20GiB, 500MB or 1048576.
type byteSize int64

func (b *byteSize) String() string {
	if *b == 0 {
		return "0"
	}
	return humanize.IBytes(uint64(*b))
}

func (b *byteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a number of bytes such as 20GiB", s)
	}
	*b = byteSize(n)
	return nil
}

func (b *byteSize) Type() string { return "bytes" }
