package service

import (
	"encoding/base64"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// allowed returns the kind of error for a value of Authorization, "" if it is good.
func allowed(tokens *Tokens, authorization string) string {
	r := httptest.NewRequest("POST", "/build", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if err := tokens.Check(r); err != nil {
		return k6x.KindOf(err).String()
	}
	return ""
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestTokensLetInWhoHasOne(t *testing.T) {
	tokens, err := LoadTokens(tokenFile(t, "# for the team\n\n  first-token\r\nsecond:token\n"))
	if err != nil {
		t.Fatal(err)
	}
	for authorization, want := range map[string]string{
		"Bearer first-token":                   "",
		"bearer  second:token":                 "",
		basic("anybody", "first-token"):        "",
		basic("", "second:token"):              "",
		"":                                     "unauthorized",
		"Bearer":                               "unauthorized",
		"Bearer first-toke":                    "unauthorized",
		"Bearer # for the team":                "unauthorized",
		"first-token":                          "unauthorized",
		basic("first-token", ""):               "unauthorized",
		"Basic %%%":                            "unauthorized",
		"Bearer " + strings.Repeat("x", 1<<15): "unauthorized",
	} {
		if got := allowed(tokens, authorization); got != want {
			t.Errorf("%.60q gets %q, want %q", authorization, got, want)
		}
	}
	if got := allowed(nil, "Bearer anything"); got != "" {
		t.Errorf("without a token file: %s", got)
	}
}

func TestTokensAreReadAgainWhenTheFileChanges(t *testing.T) {
	name := tokenFile(t, "old\n")
	tokens, err := LoadTokens(name)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tokens.now = func() time.Time { return now }
	if err := os.WriteFile(name, []byte("newer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens.checked = now
	if got := allowed(tokens, "Bearer old"); got != "" {
		t.Errorf("within a second the file was read again: %s", got)
	}
	now = now.Add(time.Second)
	if old, newer := allowed(tokens, "Bearer old"), allowed(tokens, "Bearer newer"); old != "unauthorized" || newer != "" {
		t.Errorf("the old token gets %q, the new %q", old, newer)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if got := allowed(tokens, "Bearer newer"); got != "unavailable" {
		t.Errorf("without the file: %q", got)
	}
	if err := os.WriteFile(name, []byte("newer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if got := allowed(tokens, "Bearer newer"); got != "" {
		t.Errorf("when the file is back: %q", got)
	}
}

func TestATokenFileOfNoUseIsAnError(t *testing.T) {
	for what, name := range map[string]string{
		"missing":   filepath.Join(t.TempDir(), "nothing"),
		"directory": t.TempDir(),
		"empty":     tokenFile(t, "# nothing\n"),
		"a space":   tokenFile(t, "two words\n"),
		"long":      tokenFile(t, strings.Repeat("x", 5000)),
		"large":     tokenFile(t, strings.Repeat("token\n", 1<<18)),
	} {
		if _, err := LoadTokens(name); k6x.KindOf(err) != k6x.Invalid || err == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
