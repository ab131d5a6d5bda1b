package resolver

import (
	"reflect"
	"strings"

	"github.com/jmespath/go-jmespath"

	"k6x"
)

// compileFilter reads a jmespath expression; "" gives nil, which selects all. A bare
// true or false is an error: jmespath takes it for the name of a field, so that the
// filter would refuse everything in silence.
func compileFilter(expression string) (*jmespath.JMESPath, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, nil
	}
	if corrected := quoteBooleans(expression); corrected != expression {
		return nil, k6x.Errorf(k6x.Invalid, "the filter %s compares with a field named true or false, which selects nothing", expression).
			WithHint("In jmespath a boolean is written in backticks: %s", corrected)
	}
	filter, err := jmespath.Compile(expression)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the filter %s is not a jmespath expression: %w", expression, err)
	}
	return filter, nil
}

// quoteBooleans puts backticks around each true and false that stands outside of
// quotes and backticks.
func quoteBooleans(expression string) string {
	var out strings.Builder
	for i := 0; i < len(expression); {
		n := 1
		switch c := expression[i]; {
		case c == '\'' || c == '"' || c == '`':
			n = quoted(expression[i:])
		case isWordByte(c):
			for i+n < len(expression) && isWordByte(expression[i+n]) {
				n++
			}
			if word := expression[i : i+n]; word == "true" || word == "false" {
				out.WriteString("`" + word + "`")
				i += n
				continue
			}
		}
		out.WriteString(expression[i : i+n])
		i += n
	}
	return out.String()
}

func isWordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// quoted returns the length of the quoted text that s starts with; a backslash
// takes the quote's meaning away.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return len(s)
}

// applyFilter returns the entries that the filter does not select. K6 itself is
// always selected.
func applyFilter(filter *jmespath.JMESPath, expression string, entries []*entry) (map[*entry]bool, error) {
	refused := map[*entry]bool{}
	if filter == nil {
		return refused, nil
	}
	raw := make([]any, len(entries))
	byIdentity := make(map[uintptr]*entry, len(entries))
	for i, e := range entries {
		raw[i] = e.raw
		byIdentity[identity(e.raw)] = e
		if !e.isK6() {
			refused[e] = true
		}
	}
	result, err := filter.Search(raw)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the filter %s does not work on the registry: %w", expression, err)
	}
	selected, ok := result.([]any)
	if !ok {
		return nil, notEntries(expression)
	}
	for _, item := range selected {
		m, ok := item.(map[string]any)
		if !ok || byIdentity[identity(m)] == nil {
			return nil, notEntries(expression)
		}
		delete(refused, byIdentity[identity(m)])
	}
	return refused, nil
}

// identity tells apart maps that are equal.
func identity(m map[string]any) uintptr { return reflect.ValueOf(m).Pointer() }

func notEntries(expression string) *k6x.Error {
	return k6x.Errorf(k6x.Invalid, "the result of the filter %s is not an array of registry entries", expression).
		WithHint("A filter selects entries, as [?tier=='official'] does.")
}
