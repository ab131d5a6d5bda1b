package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"k6x"
)

// details are what is printed of a binary; id and url only of one that a service made.
type details struct {
	id, platform, checksum, url string
	dependencies                map[string]string // name to version
}

func (d details) print(w io.Writer) error {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", printable(name), printable(value))
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

// printable takes out of what a service said whatever could play tricks on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}
