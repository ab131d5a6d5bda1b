package cache

import "k6x"

// maxPath bounds a canonical path, in bytes: a list of the greatest length, percent-encoded.
const maxPath = 16 << 10

// CheckPath reports whether path can be bound to a key. The error is of kind [k6x.Invalid].
func CheckPath(path string) error {
	if len(path) < 2 || path[0] != '/' || len(path) > maxPath {
		return k6x.Errorf(k6x.Invalid, "this is not the path of a binary").
			WithHint("A path is written /goos/goarch/list, for example /linux/amd64/k6@v1.8.1.")
	}
	return nil
}
