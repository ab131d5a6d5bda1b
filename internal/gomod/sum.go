package gomod

import (
	"slices"
	"strings"

	"golang.org/x/mod/module"
)

// ParseSum returns what a line of a go.sum is the hash of, a module or its go.mod; nothing if it is no such line.
func ParseSum(line string) (m module.Version, ofGoMod bool) {
	words := strings.Fields(line)
	if len(words) != 3 {
		return module.Version{}, false
	}
	version, ofGoMod := strings.CutSuffix(words[1], "/go.mod")
	return module.Version{Path: words[0], Version: version}, ofGoMod
}

// JoinSums returns the lines of two go.sum texts, in the order of a go.sum; those of the second alone if they are more than most bytes.
func JoinSums(old, text string, most int) string {
	if text == "" {
		return old
	}
	lines := slices.Sorted(strings.Lines(old + text))
	if joined := strings.Join(slices.Compact(lines), ""); len(joined) <= most {
		return joined
	}
	return text
}
