package cli

import (
	"os"
	"strings"

	"k6x"
)

// Token returns the token for a service: that in file or, if none is named, that of a variable; "" if there is
// none. There is no flag for a token: a list of processes shows flags.
func Token(variable, file string) (string, error) {
	token := os.Getenv(variable)
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", k6x.Errorf(k6x.Invalid, "the token cannot be read: %w", err)
		}
		token = string(data)
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", k6x.Errorf(k6x.Invalid, "the token has spaces or other characters that a token cannot have")
	}
	return token, nil
}
