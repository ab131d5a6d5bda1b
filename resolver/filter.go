package resolver

import (
	"fmt"
	"reflect"
	"regexp"
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

// wordOrQuoted matches a word, or a text in quotes, in which a backslash takes a quote's meaning away.
var wordOrQuoted = regexp.MustCompile(`(?s)\w+|'(\\.|[^'\\])*('|\\?$)|"(\\.|[^"\\])*("|\\?$)|` + "`(\\\\.|[^`\\\\])*(`|\\\\?$)")

// quoteBooleans puts backticks around each true and false that stands outside of
// quotes and backticks.
func quoteBooleans(expression string) string {
	return wordOrQuoted.ReplaceAllStringFunc(expression, func(word string) string {
		if word == "true" || word == "false" {
			return "`" + word + "`"
		}
		return word
	})
}

// search runs a filter. The library panics for some expressions that it has compiled.
func search(filter *jmespath.JMESPath, entries []any) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be evaluated: %v", p)
		}
	}()
	return filter.Search(entries)
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
	result, err := search(filter, raw)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the filter %s does not work on the registry: %w", expression, err)
	}
	selected, ok := result.([]any)
	for _, item := range selected {
		m, _ := item.(map[string]any)
		e := byIdentity[identity(m)]
		ok = ok && e != nil
		delete(refused, e)
	}
	if !ok {
		return nil, k6x.Errorf(k6x.Invalid, "the result of the filter %s is not an array of registry entries", expression).
			WithHint("A filter selects entries, as [?tier=='official'] does.")
	}
	return refused, nil
}

// identity tells apart maps that are equal.
func identity(m map[string]any) uintptr { return reflect.ValueOf(m).Pointer() }
