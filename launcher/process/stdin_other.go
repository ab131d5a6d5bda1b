//go:build unix && !linux

package process

import "os"

// nameless returns an empty file.
func nameless() (*os.File, error) { return temporary() }
