package gobuild

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k6x"
)

var (
	credentials = regexp.MustCompile(`://[^/@\s"]*@`)
	escapedPath = regexp.MustCompile(`[^\s:"]*![a-z][^\s:"]*@v`)
	escape      = regexp.MustCompile(`![a-z]`)
)

// Outside stands in clean output for directories with files that are not of the build.
const Outside = "…"

// Place is a directory of the machine that builds.
type Place struct {
	Dir string // absolute; "": none
	As  string // what stands for it in clean output
}

// Clean returns the output of a go command that ran in a directory without the places of the machine, credentials,
// control characters and news of downloads, so that positions read as
// path@version/file.go:line:column. Which of its lines strangers may read, [WithOutput] says.
func Clean(text, dir string, places ...Place) string {
	sep := string(filepath.Separator)
	if strings.HasPrefix(dir, "/") { // as in a container, wherever this runs
		sep = "/"
	}
	var pairs [][2]string // what is replaced, and by what
	for _, p := range places {
		if p.Dir == "" {
			continue
		}
		if p.As != "" {
			p.As += sep
		}
		// The go command writes a path relative to its directory where that is shorter.
		if rel, err := filepath.Rel(dir, p.Dir); err == nil && rel != "." {
			pairs = append(pairs, [2]string{strings.ReplaceAll(rel, string(filepath.Separator), sep) + sep, p.As})
		}
		pairs = append(pairs, [2]string{p.Dir + sep, p.As})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return len(b[0]) - len(a[0]) }) // one may be how another begins
	var replaced []string
	for _, pair := range pairs {
		replaced = append(replaced, pair[:]...)
	}
	text = strings.NewReplacer(replaced...).Replace(strings.ToValidUTF8(text, "?"))
	text = credentials.ReplaceAllString(text, "://")
	text = escapedPath.ReplaceAllStringFunc(text, func(path string) string {
		return escape.ReplaceAllStringFunc(path, func(s string) string { return strings.ToUpper(s[1:]) })
	})
	text = k6x.Printable(text)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, Downloading) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// outside is how the path of a file begins that is not of the build, in clean output.
const outside = `(?:/+[^\s/]|\\\\|[A-Za-z]:[/\\]|\.\.[/\\]|` + Outside + `[/\\])`

var (
	// A line that begins with the position of a source file. Lines that compilers quote may begin in a similar way.
	positioned = regexp.MustCompile(`^\s*([^\s:|][^:|]*\.(?:go|mod|sum|s|S|sx|c|cc|cpp|cxx|m|mm|h|hh|hpp|hxx|inc|def|f|F|for|f90|swig|swigcxx)):\d+`)
	upwards    = regexp.MustCompile(`(?:^|[/\\])\.\.(?:[/\\]|$)`)

	beginsOutside   = regexp.MustCompile(`^\s*` + outside)
	mentionsOutside = regexp.MustCompile(`[\s(\[]` + outside)
	positionOutside = regexp.MustCompile(`[\s(\[]` + outside + `[^:]*:\d`)

	packageHeader = regexp.MustCompile(`^# \S`)
	systemLinker  = regexp.MustCompile(`^\S*[/\\](?:\S+-)?(?:ld(?:\.\w+)?|collect2)(?:\.exe)?: `)
)

// WithOutput gives e the clean output of its build, and returns it: strangers get the lines that they may
// read, and the log gets some of the others.
func WithOutput(e *k6x.Error, text string) *k6x.Error {
	shown, withheld := withhold(text)
	return setOutput(e, shown, withheld)
}

func setOutput(e *k6x.Error, shown, withheld string) *k6x.Error {
	e.Output = shown
	if withheld != "" {
		e.Err = errors.Join(e.Err, errors.New("not shown:\n"+quote(withheld)))
	}
	return e
}

// withhold parts clean output into the lines that strangers may read and those about files that are neither
// of a module, nor of Go, nor of the main module, as a source may name any file of the machine and have the
// compiler quote it. A line without a position belongs to the line before it.
func withhold(text string) (shown, withheld string) {
	var show, hide strings.Builder
	hidden, count := false, 0
	for line := range strings.Lines(text) {
		if hidden = isWithheld(line, hidden); hidden {
			hide.WriteString(line)
			count++
			continue
		}
		show.WriteString(line)
	}
	if count > 0 {
		if s := show.String(); s != "" && !strings.HasSuffix(s, "\n") {
			show.WriteByte('\n')
		}
		fmt.Fprintf(&show, "… lines left out, as they are about files that are not of the build: %d …\n", count)
	}
	return show.String(), hide.String()
}

// withhold is the function, but for builds with replacements: users who have their own code built may read all.
func (b *Blame) withhold(text string) (shown, withheld string) {
	if b.Replaced != nil {
		return text, ""
	}
	return withhold(text)
}

// isWithheld reports whether a line is not for strangers; before says whether the one before it was not.
func isWithheld(line string, before bool) bool {
	if packageHeader.MatchString(line) {
		return false
	}
	if said := systemLinker.FindString(line); said != "" {
		return beginsOutside.MatchString(line[len(said):]) || mentionsOutside.MatchString(line[len(said):])
	}
	if beginsOutside.MatchString(line) {
		return true
	}
	if at := positioned.FindStringSubmatch(line); at != nil {
		return upwards.MatchString(at[1]) || positionOutside.MatchString(line)
	}
	if mentionsOutside.MatchString(line) {
		return true
	}
	return before && !strings.HasPrefix(line, "go: ")
}
