package buildcache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// ID is an ActionID or an OutputID of the go command. The latter is the SHA-256 of a body.
type ID [sha256.Size]byte

// ParseID reads the 64 lower-case hex digits that String writes.
func ParseID(s string) (id ID, err error) {
	if err := id.UnmarshalText([]byte(s)); err != nil {
		return ID{}, err
	}
	return id, nil
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the id as String does.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("an id has %d digits, not %d", 2*len(id), len(text))
	}
	for _, c := range text { // hex.Decode takes capitals as well, and then there are two names for a file
		if c >= 'A' && c <= 'F' {
			return fmt.Errorf("%q is not a lower-case hex digit", c)
		}
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// idOf returns the id that is in a message of the go command.
func idOf(b []byte) (id ID, err error) {
	if len(b) != len(id) {
		return id, fmt.Errorf("an id has %d bytes, not %d", len(id), len(b))
	}
	return ID(b), nil
}
