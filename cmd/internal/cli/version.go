package cli

import "runtime/debug"

// Version returns the version of this program, "(devel)" if it was built from a working copy.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
