package k6x

import (
	"strings"
	"unicode"
)

// Printable takes out of what a stranger said whatever could play tricks on a terminal: control
// characters other than newlines and tabs, what turns the direction of text, bytes that are no UTF-8.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
