package gomod

import "testing"

func TestJoinSumsIsSortedAndBounded(t *testing.T) {
	const a, b, c = "example.com/a v1.0.0 h1:a\n", "example.com/b v1.0.0 h1:b\n", "example.com/c v1.0.0 h1:c\n"
	for _, test := range []struct {
		old, text string
		most      int
		want      string
	}{
		{"", "", 100, ""},
		{a, "", 100, a},
		{"", b + a, 100, a + b},
		{a + c, c + b, 100, a + b + c},
		{a + b, c + a, len(a) * 3, a + b + c},
		{a + b, c, len(a) * 2, c},
	} {
		if got := JoinSums(test.old, test.text, test.most); got != test.want {
			t.Errorf("%q and %q are %q, want %q", test.old, test.text, got, test.want)
		}
	}
}

func TestParseSum(t *testing.T) {
	for line, want := range map[string]string{
		"example.com/a v1.0.0 h1:a\n":          "example.com/a@v1.0.0 false",
		"example.com/a v1.0.0/go.mod h1:a\n":   "example.com/a@v1.0.0 true",
		"example.com/a v1.0.0/go.mod h1:a b\n": " false",
		"":                                     " false",
	} {
		m, ofGoMod := ParseSum(line)
		if got := m.String() + map[bool]string{true: " true", false: " false"}[ofGoMod]; got != want && got != "@"+want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
}
