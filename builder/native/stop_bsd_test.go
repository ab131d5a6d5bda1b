//go:build unix && !linux

package native

import "testing"

// waitForTheGoCommand does not wait, as no signal is sent for the death of a parent here.
func waitForTheGoCommand(*testing.T, <-chan struct{}) {}
