package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"k6x"
)

// details are printed of a binary; id and url only of one that a service made.
type details struct {
	id, platform, checksum, url string
	dependencies                map[string]string // name to version
}

func (d details) print(w io.Writer) error {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", k6x.Printable(name), k6x.Printable(value))
		}
	}
	line("id", d.id)
	line("platform", d.platform)
	line(k6x.K6, d.dependencies[k6x.K6])
	for _, name := range slices.Sorted(maps.Keys(d.dependencies)) {
		if name != k6x.K6 {
			line(name, d.dependencies[name])
		}
	}
	line("checksum", d.checksum)
	line("url", d.url)
	_, err := io.WriteString(w, b.String())
	return err
}
