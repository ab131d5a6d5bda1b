package k6x

import (
	"strings"
	"unicode"
)

// Printable takes out of what a stranger said whatever could play tricks on a terminal: control
// characters other than newlines and tabs, what turns the direction of text, bytes that are no UTF-8.
func Printable(s string) string {
	plain := true // most texts are
	for i := 0; i < len(s) && plain; i++ {
		plain = ' ' <= s[i] && s[i] <= '~' || s[i] == '\n'
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		if (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// Clip returns what a stranger sent so that it can be quoted in a message: printable, and not longer than a line or two.
func Clip(s string) string { return ClipTo(s, 120) }

// ClipTo returns s printable, and cut after so many bytes.
func ClipTo(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return Printable(s)
}
