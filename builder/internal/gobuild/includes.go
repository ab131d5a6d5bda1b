package gobuild

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/scanner"
	"unicode"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/disk"
)

// Bounds on what is read of one module to find its includes.
const (
	maxIncludeFiles = 50_000   // entries of its directories
	maxIncludeBytes = 64 << 20 // of sources
)

// CheckIncludes returns an error unless the assembly files of m, which are in dir, include only files of their
// own module and of Go. The assembler reads any file that it is told to, with a path as in #include "/etc/passwd",
// and both its messages and its macros carry what it has read. With cgo the same is asked of C files and flags, as
// far as can be told from their text.
//
// Errors: BuildFailed for what is refused; Internal if the files cannot be read.
func (b *Blame) CheckIncludes(m module.Version, dir string) error {
	err := checkIncludes(dir, b.recipe.Cgo)
	refused, ok := errors.AsType[*inclusion](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return FileError("reading the files of a module", err)
	}
	return k6x.Errorf(k6x.BuildFailed, "%s is not built, as %s", b.describe(m), refused).
		WithHint("Sources may include files of their own module and of Go only.")
}

// inclusion is what is wrong with an include.
type inclusion struct {
	file string // in its module
	what string
}

func (i *inclusion) Error() string { return i.file + " " + i.what }

// includes finds the includes of one module.
type includes struct {
	root  string
	cgo   bool
	files int // still to be looked at
	bytes int64
	seen  map[[2]string]bool // by, such as a package's directory, and file
}

func checkIncludes(root string, cgo bool) error {
	c := &includes{root: root, cgo: cgo, files: maxIncludeFiles, bytes: maxIncludeBytes, seen: make(map[[2]string]bool)}
	return filepath.WalkDir(root+string(filepath.Separator), func(file string, entry fs.DirEntry, err error) error {
		c.files--
		switch {
		case err != nil:
			return err
		case c.files < 0:
			return c.refuse(filepath.Dir(file), "has, with what was looked at before, more than %d files", maxIncludeFiles)
		case !entry.Type().IsRegular():
			return nil
		case filepath.Ext(file) == ".s":
			err = c.assembly(filepath.Dir(file), file)
		}
		if err == nil && c.cgo {
			err = c.forCgo(file)
		}
		return err
	})
}

func (c *includes) refuse(file, format string, args ...any) error {
	if rel, err := filepath.Rel(c.root, file); err == nil {
		file = filepath.ToSlash(rel)
	}
	return &inclusion{strings.Trim(clipped(file), `"`), fmt.Sprintf(format, args...)}
}

// read returns the text of a file, once for those that are read by a name, such as a package's directory; "" if it was read.
func (c *includes) read(by, file string) (string, error) {
	if c.seen[[2]string{by, file}] {
		return "", nil
	}
	c.seen[[2]string{by, file}] = true
	data, err := disk.ReadFile(file, c.bytes)
	if _, tooLarge := errors.AsType[*disk.TooLargeError](err); tooLarge {
		return "", c.refuse(file, "and what was read before it are larger than can be checked")
	}
	c.bytes -= int64(len(data))
	return string(data), err
}

// macroText is what the assembler does to the tokens of a macro.
var macroText = strings.NewReplacer("\u00b7", ".", "\u2215", "/")

// assembly checks a file that the assembler may read for the package in dir. It sees the tokens that the assembler
// sees (cmd/asm/internal/lex). Macros may put together an include of tokens from several places, but not the
// word itself: so that is allowed in #include "name" only.
func (c *includes) assembly(dir, file string) error {
	text, err := c.read(dir, file)
	if err != nil {
		return err
	}
	s := tokens(text)
	var before rune
	for tok := s(); tok.kind != scanner.EOF; {
		if tok.kind != scanner.Ident || tok.text != "include" || before == '.' { // .include is no word of this assembler
			before, tok = tok.kind, s()
			continue
		}
		if before != '#' {
			return c.refuse(file, `has the word include other than in #include "file"`)
		}
		before, tok = tok.kind, s()
		switch tok.kind {
		case '<': // which it does not take
		case scanner.String:
			for _, quoted := range []string{tok.text, macroText.Replace(tok.text)} {
				if name, err := strconv.Unquote(quoted); err == nil { // else it fails
					if err := c.include(dir, file, name); err != nil {
						return err
					}
				}
			}
		default:
			return c.refuse(file, `has an #include that does not name a file`)
		}
	}
	return nil
}

// include checks what file, an assembly file of the package in dir, includes.
func (c *includes) include(dir, file, name string) error {
	included, ok := c.inModule(dir, name)
	if !ok {
		return c.refuse(file, "includes %s, which is neither a file of its module nor of Go", clipped(name))
	}
	if included != "" {
		return c.assembly(dir, included)
	}
	if !strings.Contains(name, "GOOS") && !strings.Contains(name, "GOARCH") {
		return nil // of Go, or there is none
	}
	// The go command makes such a name for a header that is named for a platform.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Type().IsRegular() && slices.Contains(headers, filepath.Ext(entry.Name())) {
			if err := c.assembly(dir, filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

var headers = []string{".h", ".hh", ".hpp", ".hxx"}

// inModule returns the file of the module that a compiler which runs in dir finds by name, and reports whether
// no other but one of Go may be found: a name without .. is looked for in dir and where Go's headers are.
func (c *includes) inModule(dir, name string) (file string, ok bool) {
	file = filepath.Join(dir, name)
	info, err := os.Lstat(file)
	found := err == nil && info.Mode().IsRegular()
	switch {
	case filepath.IsLocal(name) && found:
		return file, true
	case filepath.IsLocal(name):
		return "", true
	}
	down := filepath.Clean(name)
	for strings.HasPrefix(down, ".."+string(filepath.Separator)) {
		down = down[3:]
	}
	if rel, err := filepath.Rel(c.root, file); err != nil || !filepath.IsLocal(down) || !filepath.IsLocal(rel) || !found {
		return "", false
	}
	return file, true
}

// clipped quotes a name that a stranger chose.
func clipped(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "…"
	}
	return strconv.QuoteToGraphic(name)
}

// token is one of the assembler.
type token struct {
	kind rune
	text string
}

// tokens returns what yields the tokens of an assembly file as the assembler reads them, but for comments.
func tokens(text string) func() token {
	var s scanner.Scanner
	s.Init(strings.NewReader(text))
	s.Error = func(*scanner.Scanner, string) {}
	s.Whitespace = 1<<'\t' | 1<<'\r' | 1<<' '
	s.Mode = scanner.ScanChars | scanner.ScanFloats | scanner.ScanIdents | scanner.ScanInts | scanner.ScanStrings | scanner.ScanComments
	s.IsIdentRune = func(ch rune, i int) bool {
		return unicode.IsLetter(ch) || ch == '_' || ch == '\u00b7' || ch == '\u2215' || i > 0 && unicode.IsDigit(ch)
	}
	return func() token {
		for {
			if kind := s.Scan(); kind != scanner.Comment {
				return token{kind, s.TokenText()}
			}
		}
	}
}
