package script

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// bom may come before the text of a file.
const bom = "\ufeff"

// literal is a string in the source text, or a template that nothing is put into.
type literal struct {
	text      string // as written, escapes and all
	line      int    // from 1
	directive bool   // it is a statement of its own, before all others that are no directives
	imported  bool   // it follows the word from or import
}

// scan calls visit for each literal of a script without its BOM, in order, and returns how deep its
// expressions may nest: by brackets, or without any, as operators may. It knows of JavaScript no more
// than strings, comments, templates and regular expressions, and goes on at the end of the line after something that it does
// not understand.
func scan(src string, visit func(literal)) (deepest int) {
	s := scanner{src: src, line: 1, visit: visit}
	if strings.HasPrefix(s.src, "#!") {
		s.skipLine()
	}
	for s.pos < len(s.src) {
		s.step()
		deepest = max(deepest, s.depth+s.run)
	}
	return deepest
}

type scanner struct {
	src       string
	pos, line int
	visit     func(literal)

	depth     int    // brackets that are open
	run       int    // tokens since the line, statement, block or item of a list began
	templates []int  // depth at each ${ that is open
	prev      byte   // the last byte that is neither space nor comment; 0 at the start
	word      string // the identifier, keyword or number that ends with prev, if any
	code      bool   // there was a token that is no part of a directive
}

// step goes on by one token.
func (s *scanner) step() {
	c := s.src[s.pos]
	r, width := utf8.DecodeRuneInString(s.src[s.pos:])
	switch {
	case c == '\n':
		s.line++
		s.run = 0
		s.pos++
	case unicode.IsSpace(r):
		s.pos += width
	case c == '/' && strings.HasPrefix(s.src[s.pos:], "//"):
		s.skipLine()
	case c == '/' && strings.HasPrefix(s.src[s.pos:], "/*"):
		s.skipComment()
	case c == '"', c == '\'':
		s.text(c)
	case c == '`':
		s.pos++
		s.template(s.pos)
	case c == '/' && s.regexpMayStart():
		s.regexp()
	case isWord(c):
		start := s.pos
		for s.pos < len(s.src) && isWord(s.src[s.pos]) {
			s.pos++
		}
		s.saw(s.src[s.pos-1], s.src[start:s.pos])
	default:
		s.punctuation(c)
	}
}

// saw notes a token that ends with c.
func (s *scanner) saw(c byte, word string) {
	s.prev, s.word = c, word
	s.code = s.code || word != "" || !strings.ContainsRune("\"';", rune(c))
	s.run++
	if c == ';' || c == ',' || c == '}' {
		s.run = 0
	}
}

func (s *scanner) punctuation(c byte) {
	s.pos++
	s.saw(c, "")
	switch c {
	case '(', '[', '{':
		s.depth++
		s.run-- // counted once
	case ')', ']', '}':
		s.depth = max(0, s.depth-1)
		if n := len(s.templates); n > 0 && c == '}' && s.templates[n-1] == s.depth {
			s.templates = s.templates[:n-1]
			s.template(-1)
		}
	}
}

func (s *scanner) skipLine() {
	if n := strings.IndexByte(s.src[s.pos:], '\n'); n >= 0 {
		s.pos += n
		return
	}
	s.pos = len(s.src)
}

func (s *scanner) skipComment() {
	end := len(s.src)
	if n := strings.Index(s.src[s.pos+2:], "*/"); n >= 0 {
		end = s.pos + 2 + n + 2
	}
	s.line += strings.Count(s.src[s.pos:end], "\n")
	s.pos = end
}

// text reads a string in quotes. One without its closing quote ends with the line.
func (s *scanner) text(quote byte) {
	found := literal{line: s.line, directive: !s.code, imported: s.word == "from" || s.word == "import"}
	s.pos++
	for start := s.pos; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; c {
		case quote:
			found.text = s.src[start:s.pos]
			s.pos++
			s.saw(quote, "")
			found.directive = found.directive && s.statementEnds()
			s.visit(found)
			return
		case '\n':
			s.saw(quote, "")
			return
		case '\\':
			s.escape()
		}
	}
}

// escape goes to the last byte of an escape: a line end may be escaped too.
func (s *scanner) escape() {
	if strings.HasPrefix(s.src[s.pos+1:], "\r\n") {
		s.pos++
	}
	if s.pos+1 < len(s.src) {
		s.pos++
		if s.src[s.pos] == '\n' {
			s.line++
		}
	}
}

// template reads on in a template, to its end or to the next ${. start is where its text began, or
// -1 if something was put into it already.
func (s *scanner) template(start int) {
	line := s.line
	for ; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; {
		case c == '`':
			if start >= 0 {
				s.visit(literal{text: s.src[start:s.pos], line: line})
			}
			s.pos++
			s.saw('`', "")
			return
		case c == '$' && strings.HasPrefix(s.src[s.pos:], "${"):
			s.templates = append(s.templates, s.depth)
			s.pos++
			s.punctuation('{')
			s.prev = '(' // a value follows, not a statement
			return
		case c == '\n':
			s.line++
		case c == '\\':
			s.escape()
		}
	}
}

// regexpMayStart reports whether a slash here starts a regular expression rather than divides.
func (s *scanner) regexpMayStart() bool {
	switch s.word {
	case "":
		return s.prev == 0 || !strings.ContainsRune(")]\"'`", rune(s.prev))
	case "return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "throw", "new", "await", "yield":
		return true
	}
	return false
}

func (s *scanner) regexp() {
	class := false
	for s.pos++; s.pos < len(s.src) && s.src[s.pos] != '\n'; s.pos++ {
		switch c := s.src[s.pos]; {
		case c == '\\' && s.pos+1 < len(s.src) && s.src[s.pos+1] != '\n':
			s.pos++
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '/' && !class:
			s.pos++
			s.saw(')', "") // as after any other value
			return
		}
	}
}

// statementEnds reports whether nothing more of a statement follows on this line.
func (s *scanner) statementEnds() bool {
	rest := strings.TrimLeft(s.src[s.pos:], " \t\r")
	return rest == "" || strings.ContainsRune("\n;}", rune(rest[0])) ||
		strings.HasPrefix(rest, "//") || strings.HasPrefix(rest, "/*")
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '$' || c >= 0x80
}
