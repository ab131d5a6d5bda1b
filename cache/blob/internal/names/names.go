// Package names writes names of blobs so that a service or a file system takes them.
package names

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// escaped is how a rune is written: in hexadecimal.
var escaped = regexp.MustCompile(`^__0x([0-9a-fA-F]{1,8})__`)

// Escape returns name with each rune replaced that special reports true of, so that [Unescape] gives name back. So is the beginning of whatever
// looks like such a replacement, as what follows it may make it one.
func Escape(name string, special func(runes []rune, i int) bool) string {
	runes := []rune(name)
	var out strings.Builder
	for i, r := range runes {
		if special(runes, i) || strings.HasPrefix(string(runes[i:min(len(runes), i+4)]), "__0x") {
			fmt.Fprintf(&out, "__%#x__", r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// Unescape returns the name that [Escape] was given.
func Unescape(text string) string {
	var out strings.Builder
	for text != "" {
		i := strings.Index(text, "__0x")
		if i < 0 {
			break
		}
		out.WriteString(text[:i])
		text = text[i:]
		size := 1
		if match := escaped.FindStringSubmatch(text); match == nil {
			out.WriteByte(text[0])
		} else if r, err := strconv.ParseInt(match[1], 16, 32); err == nil {
			out.WriteRune(rune(r))
			size = len(match[0])
		} else {
			out.WriteByte(text[0])
		}
		text = text[size:]
	}
	return out.String() + text
}

// AfterDots reports whether runes[i] is the slash of "../", which no service takes.
func AfterDots(runes []rune, i int) bool {
	return i > 1 && runes[i] == '/' && runes[i-1] == '.' && runes[i-2] == '.'
}
