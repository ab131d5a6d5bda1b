package buildcache

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"k6x/internal/disk"

	"github.com/klauspost/compress/zstd"
)

// index is an object that a session adds to the remote level, by which others find the packs that it sent.
type index struct {
	Format  int
	Merged  bool     `json:",omitempty"` // it has all that was in the indexes before it
	Packs   []packed `json:",omitempty"`
	Actions []bound  `json:",omitempty"`
	Builds  []build  `json:",omitempty"`
}

// packed is a pack and the bodies in it, in order.
type packed struct {
	ID      ID    // the SHA-256 of the pack
	Size    int64 // bytes of the pack
	Outputs []sized
}

type sized struct {
	Output ID    `json:"O"`
	Size   int64 `json:"S"`
}

type bound struct {
	Action ID `json:"A"`
	Output ID `json:"O"`
}

// build says which packs builds of a label need, in the order in which they do.
type build struct {
	Label string
	Packs []ID
}

const (
	indexFormat = 1
	maxIndex    = 64 << 20  // bytes, compressed
	maxIndexRaw = 256 << 20 // bytes, uncompressed
	maxPacks    = 50_000    // in a scope
	maxActions  = 500_000   // in a scope
	maxBuilds   = 1_000     // in a scope
	maxPack     = 256 << 20 // bytes, compressed
	maxBody     = 128 << 20 // bytes of an output that is sent and fetched; a larger one stays here
)

func encodeIndex(x *index) ([]byte, error) {
	x.Format = indexFormat
	data, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	return enc.EncodeAll(data, nil), nil
}

// decodeIndex reads an index, in which everything is within bounds.
func decodeIndex(data []byte) (*index, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxIndexRaw))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	raw, err := dec.DecodeAll(data, nil)
	if err != nil {
		return nil, err
	}
	x := new(index)
	if err := json.Unmarshal(raw, x); err != nil {
		return nil, err
	}
	if x.Format != indexFormat {
		return nil, fmt.Errorf("an index of format %d", x.Format)
	}
	if len(x.Packs) > maxPacks || len(x.Actions) > maxActions || len(x.Builds) > maxBuilds {
		return nil, errors.New("an index of too many entries")
	}
	for _, p := range x.Packs {
		if p.Size < 0 || p.Size > maxPack {
			return nil, fmt.Errorf("a pack of %d bytes", p.Size)
		}
		for _, o := range p.Outputs {
			if o.Size < 0 || o.Size > maxBody {
				return nil, fmt.Errorf("an output of %d bytes", o.Size)
			}
		}
	}
	for _, b := range x.Builds {
		if len(b.Label) > MaxLabel || len(b.Packs) > maxPacks {
			return nil, errors.New("a build that is too large")
		}
	}
	return x, nil
}

// MaxLabel bounds a label, in bytes.
const MaxLabel = 500

const (
	indexDir = "index/"
	packDir  = "packs/"
)

// Names of indexes sort by time. They end with a part of the digest of their bytes.
var indexNames = regexp.MustCompile(`^index/([a-z0-9][a-z0-9.-]*)\.[0-9a-f]{16}\.([0-9a-f]{32})$`)

func indexPrefix(scope string) string { return indexDir + scope + "." }

func indexName(scope string, at time.Time, body []byte) string {
	return fmt.Sprintf("%s%016x.%s", indexPrefix(scope), at.UnixNano(), shortDigest(body))
}

func shortDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return fmt.Sprintf("%x", sum[:16])
}

// isIndex reports whether name is that of an index of the scope.
func isIndex(scope, name string) bool {
	parts := indexNames.FindStringSubmatch(name)
	return parts != nil && parts[1] == scope
}

// isIndexBody reports whether body has the digest that is in name.
func isIndexBody(name string, body []byte) bool {
	return strings.HasSuffix(name, "."+shortDigest(body))
}

func packName(id ID) string { return packDir + id.String() }

// loadIndex reads an index from a remote level. If it is damaged, the error is errOther.
func loadIndex(ctx context.Context, remote Store, name string) (*index, error) {
	r, err := remote.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body, err := disk.ReadAll(r, maxIndex)
	if _, large := errors.AsType[*disk.TooLargeError](err); large || err == nil && !isIndexBody(name, body) {
		return nil, errOther
	}
	if err != nil {
		return nil, err
	}
	x, err := decodeIndex(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOther, err)
	}
	return x, nil
}
