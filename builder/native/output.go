package native

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// output keeps the first and the last of what is written to it, max bytes in all, and
// tells line each line as it comes. It is not for concurrent writers.
type output struct {
	max  int
	line func(string)

	head, tail []byte // each of up to max/2 bytes, tail of twice that in between
	dropped    int    // bytes between head and tail
	partial    []byte // the line so far
}

const maxLine = 4096 // bytes of a line that line is told

func (o *output) Write(p []byte) (int, error) {
	o.lines(p)
	half := o.max / 2
	n := min(len(p), half-len(o.head))
	o.head = append(o.head, p[:n]...)
	for rest := p[n:]; len(rest) > 0; {
		n := min(len(rest), half)
		o.tail = append(o.tail, rest[:n]...)
		rest = rest[n:]
		if extra := len(o.tail) - half; extra > half {
			o.tail = append(o.tail[:0], o.tail[extra:]...)
			o.dropped += extra
		}
	}
	return len(p), nil
}

func (o *output) lines(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		o.partial = append(o.partial, piece[:min(len(piece), maxLine-len(o.partial))]...)
		if end < 0 {
			return
		}
		o.line(string(o.partial))
		o.partial = o.partial[:0]
		p = p[end+1:]
	}
}

// String returns what was kept.
func (o *output) String() string {
	tail, dropped := o.tail, o.dropped
	if extra := len(tail) - o.max/2; extra > 0 {
		tail, dropped = tail[extra:], dropped+extra
	}
	if dropped == 0 {
		return string(o.head) + string(tail)
	}
	return fmt.Sprintf("%s\n… %d bytes are left out here …\n%s", o.head, dropped, tail)
}

var (
	credentials = regexp.MustCompile(`://[^/@\s"]*@`)
	escapedPath = regexp.MustCompile(`[^\s:"]*![a-z][^\s:"]*@v`)
	escape      = regexp.MustCompile(`![a-z]`)
)

// clean returns the output of a build in ws as strangers may read it: without the
// directories of this machine, credentials, control characters and news of downloads, so
// that positions read as path@version/file.go:line:column.
func (e *Engine) clean(text string, ws *workspace) string {
	sep := string(filepath.Separator)
	var pairs []string
	for _, dir := range []struct{ path, as string }{
		{e.dirs.ModCache, ""},
		{ws.dir, ""},
		{e.cfg.Dir, ""},
		{e.cfg.Tool.Root, "GOROOT" + sep},
	} {
		if dir.path == "" {
			continue
		}
		// The go command writes a path relative to the workspace where that is shorter.
		if rel, err := filepath.Rel(ws.dir, dir.path); err == nil && rel != "." {
			pairs = append(pairs, rel+sep, dir.as)
		}
		pairs = append(pairs, dir.path+sep, dir.as)
	}
	text = strings.NewReplacer(pairs...).Replace(strings.ToValidUTF8(text, "?"))
	text = credentials.ReplaceAllString(text, "://")
	text = escapedPath.ReplaceAllStringFunc(text, func(path string) string {
		return escape.ReplaceAllStringFunc(path, func(s string) string { return strings.ToUpper(s[1:]) })
	})
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "go: downloading ") {
			b.WriteString(line)
		}
	}
	return b.String()
}
