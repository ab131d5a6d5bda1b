package binaries

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"k6x/internal/disk"

	"k6x"
)

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
