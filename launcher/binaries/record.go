package binaries

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k6x"
	"k6x/internal/disk"
)

// maxRecord bounds a record, in bytes; maxSource the source in it.
const (
	maxRecord = 64 << 10
	maxSource = 8 << 10
)

// Meta describes a binary.
type Meta struct {
	Platform k6x.Platform      `json:"platform"`
	Versions map[string]string `json:"versions"` // by name: k6 and all extensions, v-prefixed
	Source   string            `json:"source"`   // the builder that made it
}

// List returns the versions as a pinned list.
func (m Meta) List() k6x.List {
	list, _ := m.list() // check tells whether it can be made
	return list
}

func (m Meta) list() (k6x.List, error) {
	deps := make([]k6x.Dependency, 0, len(m.Versions))
	for name, version := range m.Versions {
		deps = append(deps, k6x.Dependency{Name: name, Constraint: k6x.Exactly(version)})
	}
	return k6x.NewList(deps...)
}

// check returns an error of kind k6x.Invalid unless a binary may be added, or read, as m.
func (m Meta) check() error {
	if p, err := k6x.ParsePlatform(m.Platform.String()); err != nil || p != m.Platform {
		return k6x.Errorf(k6x.Invalid, "a binary for no platform")
	}
	for name, version := range m.Versions {
		c, err := k6x.ParseConstraint(version)
		if err != nil || c.Version() == "" || c.Version() != version {
			return k6x.Errorf(k6x.Invalid, "a binary with an inexact version of %q", name)
		}
	}
	list, err := m.list()
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

// record describes a binary, in a file beside it.
type record struct {
	Meta
	Digest string    `json:"digest"` // hex SHA-256 of the bytes
	Size   int64     `json:"size"`   // bytes
	Added  time.Time `json:"added"`
	Stamp  stamp     `json:"stamp"`
	Seal   string    `json:"seal,omitempty"`
}

// stamp is the state of the file when it was added. It is not sealed.
type stamp struct {
	Size    int64 `json:"size"`
	ModTime int64 `json:"mod_time"` // nanoseconds since 1970
}

// parseRecord reads a record that may be damaged, or forged.
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

// read returns the entry of an id. The error is an fs.ErrNotExist if there is none.
func (d *Dir) read(id string, secret []byte) (Binary, error) {
	name := d.home(id) + string(os.PathSeparator) + recordName
	info, err := disk.Regular(name) // a link or a pipe may have come with a project
	if err != nil {
		return Binary{}, err
	}
	data, err := disk.ReadFile(name, maxRecord)
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
	_, err = os.Lstat(filepath.Join(d.home(id), failsName))
	return Binary{Meta: r.Meta, Digest: r.Digest, Size: r.Size, Path: path, Used: info.ModTime(), Fails: err == nil, id: id, modTime: r.Stamp.ModTime}, nil
}

const secretSize = 32 // bytes

// seal returns a proof that the holder of the secret added these bytes under these names; "" without a secret.
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

// secret returns the secret that records are sealed with; nil if they are not.
func (d *Dir) secret() ([]byte, error) {
	name := d.cfg.Secret
	if name == "" {
		return nil, nil
	}
	secret, err := readSecret(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeSecret(name); err == nil {
			secret, err = readSecret(name) // perhaps that of another launcher, which was first
		}
	}
	if err != nil {
		return nil, fault(err)
	}
	return secret, nil
}

func readSecret(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	secret := make([]byte, secretSize)
	if _, err := io.ReadFull(file, secret); err != nil {
		return nil, k6x.Errorf(k6x.Internal, "%s is not a secret of this program", name).WithHint("Remove it; a new one will be made.").WithCause(err)
	}
	return secret, nil
}

// makeSecret makes the file unless it is there; it is there as a whole or not at all.
func makeSecret(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	return disk.FS{}.WriteAtomic(disk.Atomic{Name: name, Mode: 0o600, Sync: true, IfAbsent: true}, secret)
}
