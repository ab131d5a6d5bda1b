package gobuild

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/scanner"
)

// cSources are the names of what a C compiler may be given.
var cSources = append([]string{".c", ".cc", ".cpp", ".cxx", ".m", ".mm", ".inc", ".inl", ".ipp", ".tcc", ".def", ".s", ".S", ".sx",
	".f", ".F", ".for", ".f90", ".swig", ".swigcxx"}, headers...)

var (
	trigraphs   = strings.NewReplacer("??=", "#", "??/", `\`)
	spliced     = regexp.MustCompile(`\\[ \t\v\f\r]*\n`)
	directives  = regexp.MustCompile(`include_next|include|import|embed`)
	named       = regexp.MustCompile(`^(?:"[^"\n]*"|<[^>\n]*>)`)
	gasInclude  = regexp.MustCompile(`\.(?:include|incbin)[ \t]*\\?"([^"\\\n]*)`)
	cgoFlags    = regexp.MustCompile(`(?m)^[ \t]*(?://|/\*)?[ \t]*#cgo[ \t][^:\n]*:(.*)$`)
	definesName = regexp.MustCompile(`^-(?:[DU]|Wp,-[DU])`)
)

// systemDirs are where systems keep headers and libraries, which are no secrets.
var systemDirs = []string{"/usr", "/opt", "/lib", "/lib64", "/Library", "/System", "/Applications"}

func isOfSystem(name string) bool {
	name = path.Clean(filepath.ToSlash(name))
	return slices.ContainsFunc(systemDirs, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") })
}

// forCgo checks a file of a module that is built with cgo. What the preprocessor puts together out of several
// macros it does not see.
func (c *includes) forCgo(file string) error {
	switch ext := filepath.Ext(file); {
	case ext == ".go":
		return c.goSource(file)
	case slices.Contains(cSources, ext):
		return c.cSource(file)
	}
	return nil
}

// goSource checks the C code and the flags in the comments of a Go file.
func (c *includes) goSource(file string) error {
	if cgo, err := importsC(file); !cgo || strings.HasSuffix(file, "_test.go") {
		return err
	}
	text, err := c.read("go", file)
	if err != nil {
		return err
	}
	for _, flags := range cgoFlags.FindAllStringSubmatch(text, -1) {
		for _, word := range strings.Fields(flags[1]) {
			if err := c.flag(file, strings.NewReplacer(`"`, "", `'`, "", `\`, "").Replace(word)); err != nil {
				return err
			}
		}
	}
	return c.cText(file, text)
}

// importsC reports whether a Go file imports C. It reads no more than is before the first declaration.
func importsC(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var s scanner.Scanner
	s.Init(f)
	s.Error = func(*scanner.Scanner, string) {}
	for tok := s.Scan(); tok != scanner.EOF; tok = s.Scan() {
		switch text := s.TokenText(); {
		case tok == scanner.Ident && slices.Contains([]string{"const", "func", "type", "var"}, text):
			return false, nil
		case text == `"C"`, text == "`C`":
			return true, nil
		}
	}
	return false, nil
}

// cSource checks a file for the C compiler.
func (c *includes) cSource(file string) error {
	text, err := c.read("c", file)
	if err != nil {
		return err
	}
	return c.cText(file, text)
}

// cText checks C code, which may be in the comments of a Go file.
func (c *includes) cText(file, text string) error {
	lines := spliced.ReplaceAllString(trigraphs.Replace(text), "")
	for _, at := range directives.FindAllStringIndex(lines, -1) {
		if !isDirective(lines[max(0, at[0]-maxDirective):at[0]]) {
			continue
		}
		word := lines[at[0]:at[1]]
		rest, whole := skipBlanks(lines[at[1]:min(len(lines), at[1]+maxDirective)])
		if !whole {
			return c.refuse(file, "has an #%s that cannot be read", word)
		}
		quoted := named.FindString(rest)
		if quoted == "" {
			continue // the text says include, or it is a macro
		}
		name := quoted[1 : len(quoted)-1]
		included, ok := "", filepath.IsLocal(name) // a search begins in any directory with headers
		if word != "include_next" && quoted[0] == '"' {
			included, ok = c.inModule(filepath.Dir(file), name)
		}
		if !ok && !(isOfSystem(name) && strings.Contains(path.Clean(name), "/include/")) {
			return c.refuse(file, "includes %s, which is not a file of its module", clipped(name))
		}
		if included != "" && word != "embed" {
			if err := c.cSource(included); err != nil {
				return err
			}
		}
	}
	for _, found := range gasInclude.FindAllStringSubmatch(text, -1) {
		if _, ok := c.inModule(filepath.Dir(file), found[1]); !ok {
			return c.refuse(file, "includes %s, which is not a file of its module", clipped(found[1]))
		}
	}
	return nil
}

// maxDirective bounds what is looked at before and behind the word of a directive, in bytes.
const maxDirective = 4096

const blanks = " \t\v\f\r"

// isDirective reports whether text ends where the word of a directive may stand, also of one in a Go comment.
func isDirective(text string) bool {
	for {
		text = strings.TrimRight(text, blanks)
		if !strings.HasSuffix(text, "*/") {
			break
		}
		text = text[:max(0, strings.LastIndex(text, "/*"))]
	}
	before, ok := strings.CutSuffix(text, "#")
	if !ok {
		before, ok = strings.CutSuffix(text, "%:")
	}
	before = strings.TrimRight(before, blanks)
	begins := before == "" || strings.HasSuffix(before, "\n") || strings.HasSuffix(before, "*/") || strings.HasSuffix(before, "//")
	return text == "" || ok && begins
}

// skipBlanks returns text without blanks and comments at its beginning, and whether the comments have an end.
func skipBlanks(text string) (rest string, whole bool) {
	for {
		text = strings.TrimLeft(text, blanks)
		if !strings.HasPrefix(text, "/*") {
			return text, true
		}
		_, after, ok := strings.Cut(text[2:], "*/")
		if !ok {
			return "", false
		}
		text = after
	}
}

// flag checks a word of the flags for the C compiler and linker, of those that the go command lets through.
func (c *includes) flag(file, word string) error {
	if definesName.MatchString(word) {
		return nil
	}
	for _, part := range strings.FieldsFunc(word, func(r rune) bool { return r == ',' || r == '=' }) {
		name := part
		for _, prefix := range []string{"-I", "-L", "-F", "-l:", "-R", "-B"} {
			name = strings.TrimPrefix(name, prefix)
		}
		name = strings.ReplaceAll(name, "${SRCDIR}", ".")
		if filepath.IsAbs(name) || strings.HasPrefix(name, "/") {
			if !isOfSystem(name) {
				return c.refuse(file, "has the flag %s, which names a place outside of its module", clipped(word))
			}
			continue
		}
		rel, err := filepath.Rel(c.root, filepath.Join(filepath.Dir(file), name))
		if err != nil || !filepath.IsLocal(rel) {
			return c.refuse(file, "has the flag %s, which names a place outside of its module", clipped(word))
		}
	}
	return nil
}
