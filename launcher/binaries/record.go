package binaries

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"k6x"
)

// maxRecord bounds a record, in bytes; maxSource the source in it.
const (
	maxRecord = 64 << 10
	maxSource = 8 << 10
)

// Meta says what a binary is.
type Meta struct {
	Platform k6x.Platform      `json:"platform"`
	Versions map[string]string `json:"versions"` // by name: k6 and all extensions, v-prefixed
	Digest   string            `json:"digest"`   // hex SHA-256 of the bytes
	Size     int64             `json:"size"`     // bytes
	Source   string            `json:"source"`   // a URL, or words that say who made it
}

// List returns the versions as a pinned list.
func (m Meta) List() k6x.List {
	deps := make([]k6x.Dependency, 0, len(m.Versions))
	for name, version := range m.Versions {
		deps = append(deps, k6x.Dependency{Name: name, Constraint: k6x.Exactly(version)})
	}
	list, _ := k6x.NewList(deps...) // check tells whether it can be made
	return list
}

// check is the door for what is added and for what is read. The error is of kind k6x.Invalid.
func (m Meta) check() error {
	if p, err := k6x.ParsePlatform(m.Platform.String()); err != nil || p != m.Platform {
		return k6x.Errorf(k6x.Invalid, "a binary for no platform")
	}
	deps := make([]k6x.Dependency, 0, len(m.Versions))
	for name, version := range m.Versions {
		c, err := k6x.ParseConstraint(version)
		if err != nil || c.Version() == "" || c.Version() != version {
			return k6x.Errorf(k6x.Invalid, "a binary with an inexact version of %q", name)
		}
		deps = append(deps, k6x.Dependency{Name: name, Constraint: c})
	}
	list, err := k6x.NewList(deps...)
	switch {
	case err != nil:
		return err
	case !list.Pinned():
		return k6x.Errorf(k6x.Invalid, "a binary without a version of k6")
	case len(m.Source) > maxSource:
		return k6x.Errorf(k6x.Invalid, "a binary with a source of %d characters", len(m.Source))
	}
	return nil
}

// record is what is kept beside a binary.
type record struct {
	Meta
	Added time.Time `json:"added"`
	Stamp stamp     `json:"stamp"`
	Seal  string    `json:"seal,omitempty"` // see seal
}

// stamp is what a file looked like when all of it was read and found right.
type stamp struct {
	identity
	Checked time.Time `json:"checked"`
}

// identity changes whenever a file is written or replaced, as far as the file system can tell.
type identity struct {
	Size    int64  `json:"size"`
	ModTime int64  `json:"mod_time"`         // nanoseconds since 1970
	Inode   uint64 `json:"inode,omitempty"`  // where there are any
	Change  int64  `json:"change,omitempty"` // ctime, nanoseconds since 1970: unlike the rest, nobody can set it
}

func identify(name string) (identity, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return identity{}, err
	}
	if !info.Mode().IsRegular() {
		return identity{}, fmt.Errorf("%s is no regular file", name)
	}
	id := identity{Size: info.Size(), ModTime: info.ModTime().UnixNano()}
	id.Inode, id.Change = inodeOf(info)
	return id, nil
}

// parseRecord reads a record that may be damaged, or made by anybody.
func parseRecord(data []byte) (record, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var r record
	if err := dec.Decode(&r); err != nil {
		return record{}, fmt.Errorf("record of a binary: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return record{}, errors.New("record of a binary: something follows it")
	}
	if err := r.check(); err != nil {
		return record{}, err
	}
	if k6x.CheckKey(r.Digest) != nil || r.Size <= 0 || r.Added.IsZero() {
		return record{}, errors.New("record of a binary: it says nothing")
	}
	return r, nil
}

// encode returns the record as parseRecord reads it, sealed with secret if there is one.
func (r record) encode(secret []byte) ([]byte, error) {
	r.Seal = r.seal(secret)
	data, err := json.MarshalIndent(r, "", "  ")
	if err == nil && len(data) >= maxRecord {
		err = k6x.Errorf(k6x.Invalid, "the record of a binary is larger than %d bytes", maxRecord)
	}
	return append(data, '\n'), err
}

// seal returns a proof that who has the secret added these bytes under these names; "" without one.
func (r record) seal(secret []byte) string {
	if len(secret) == 0 {
		return ""
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s\n%s\n%d\n", r.List().Path(r.Platform), r.Digest, r.Size)
	return hex.EncodeToString(mac.Sum(nil))
}

// sealed reports whether the record may be trusted.
func (r record) sealed(secret []byte) bool {
	return hmac.Equal([]byte(r.seal(secret)), []byte(r.Seal)) || len(secret) == 0
}

// read returns the entry of an id. The error is an fs.ErrNotExist if there is none.
func (d *Dir) read(id string, secret []byte) (Binary, error) {
	name := d.home(id) + string(os.PathSeparator) + recordName
	// Looked at first, as opening a pipe, which may have come with a project, would wait for its writer.
	info, err := os.Lstat(name)
	if err != nil {
		return Binary{}, err
	}
	if !info.Mode().IsRegular() {
		return Binary{}, fmt.Errorf("%s is no regular file", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return Binary{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRecord))
	if err != nil {
		return Binary{}, err
	}
	r, err := parseRecord(data)
	switch {
	case err != nil:
		return Binary{}, err
	case idOf(r.Meta) != id:
		return Binary{}, errors.New("record of a binary: it is that of another")
	case !r.sealed(secret):
		return Binary{}, errors.New("record of a binary: it was not made by this user")
	}
	path := strings.TrimSuffix(name, recordName) + r.Platform.Executable()
	return Binary{Meta: r.Meta, Path: path, Used: info.ModTime(), id: id, record: r}, nil
}
