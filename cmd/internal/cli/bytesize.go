package cli

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// ByteSize is a flag for a number of bytes, as 20GiB, 500MB or 1048576.
type ByteSize int64

func (b *ByteSize) String() string {
	if *b == 0 {
		return "0"
	}
	return humanize.IBytes(uint64(*b))
}

func (b *ByteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a number of bytes such as 20GiB", s)
	}
	*b = ByteSize(n)
	return nil
}

func (b *ByteSize) Type() string { return "bytes" }
