package cli

import (
	"fmt"
	"net/url"
)

// ParseURL reads the http or https URL of a flag. The usage error says that it is not the wanted one, as in "the URL of
// a store, such as http://localhost:9000".
func ParseURL(flag, text, wanted string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &UsageError{Err: fmt.Errorf("--%s %q is not %s", flag, text, wanted)}
	}
	return u, nil
}
