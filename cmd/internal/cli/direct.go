package cli

import "github.com/spf13/pflag"

// DirectFlag adds the flag that names modules to fetch from their own hosts.
func DirectFlag(f *pflag.FlagSet, list *[]string) {
	f.StringSliceVar(list, "direct", nil,
		"`patterns` of modules to fetch from their own hosts, wherever these are, and not to look up in the checksum database: as in GOPRIVATE, such as 'git.example.com/*'; may be repeated")
}
