package native

import "testing"

// waitForTheGoCommand returns once the go command of a process that was killed has died
// with it.
func waitForTheGoCommand(_ *testing.T, gone <-chan struct{}) { <-gone }
