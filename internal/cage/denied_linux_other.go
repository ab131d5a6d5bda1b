//go:build linux && !amd64

package cage

// deniedToo are system calls that only older systems have.
var deniedToo []uint32
