package gomod

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestNetrcThatIsTornOrNotThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".netrc")
	for data, want := range map[string]netrc{"": {}, "machine": {}, "machine x login": {"x": {}}, "machine x login me \x00 password": {"x": {"me", ""}}} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readNetrc(file); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", data, got, err, want)
		}
	}
	if n, err := readNetrc(filepath.Join(t.TempDir(), "none")); n != nil || err != nil {
		t.Errorf("no netrc file: %v, %v", n, err)
	}
}

func TestNetrc(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".netrc")
	text := "# machine no.test login no\nmachine a.test login me password s#cret # and more\nmachine b.test\n\taccount x\n\tpassword p\n\tlogin l\n" +
		"machine a.test login other password other\ndefault login all password all\nmachine c.test login c\n" +
		"macdef init\ncd /pub\nbin machine no.test\n\nmachine d.test login d password #d protocol ftp\n\nmachine e.test login e password"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := netrc{"a.test": {"me", "s#cret"}, "b.test": {"l", "p"}, "c.test": {"c", ""}, "d.test": {"d", "#d"}, "e.test": {"e", ""}}
	if got, err := readNetrc(file); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
