package gobuild

import (
	"regexp"
	"strings"

	"k6x"
)

var (
	credentials = regexp.MustCompile(`://[^/@\s"]*@`)
	escapedPath = regexp.MustCompile(`[^\s:"]*![a-z][^\s:"]*@v`)
	escape      = regexp.MustCompile(`![a-z]`)
)

// Clean returns the output of a build as strangers may read it: without the directories
// of the machine, credentials, control characters and news of downloads, so that positions
// read as path@version/file.go:line:column. Dirs are pairs of a directory, with a separator
// at its end, and what stands for it.
func Clean(text string, dirs ...string) string {
	text = strings.NewReplacer(dirs...).Replace(strings.ToValidUTF8(text, "?"))
	text = credentials.ReplaceAllString(text, "://")
	text = escapedPath.ReplaceAllStringFunc(text, func(path string) string {
		return escape.ReplaceAllStringFunc(path, func(s string) string { return strings.ToUpper(s[1:]) })
	})
	text = k6x.Printable(text)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "go: downloading ") {
			b.WriteString(line)
		}
	}
	return b.String()
}
