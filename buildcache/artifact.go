package buildcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"k6x"
)

// Media types of an exported file in a registry.
const (
	exportType     = "application/vnd.k6x.export.v1"
	exportFileType = "application/vnd.k6x.export.file.v1.tar+zstd"
)

const artifactPatience = time.Minute // for the begin of each answer of the registry

// PushFile brings a file that [Export] wrote to a registry: oci://HOST/REPOSITORY:TAG, with ?insecure=true for one
// without TLS. Its credentials are those of docker login.
func PushFile(ctx context.Context, url, file string) error {
	tag, err := parseTag(url)
	if err != nil {
		return err
	}
	layer, err := newFileLayer(file)
	if err != nil {
		return err
	}
	options := append(registryOptions(artifactPatience), remote.WithContext(ctx))
	config := static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: exportType}
	for _, l := range []v1.Layer{config, layer} {
		if err := remote.WriteLayer(tag.Context(), l, options...); err != nil {
			return notMoved(err)
		}
	}
	digest, err := config.Digest()
	if err != nil {
		return err
	}
	m.Config = v1.Descriptor{MediaType: "application/vnd.oci.empty.v1+json", Digest: digest, Size: 2}
	m.Layers = []v1.Descriptor{{MediaType: exportFileType, Digest: layer.digest, Size: layer.size}}
	if err := remote.Put(tag, manifest{m}, options...); err != nil {
		return notMoved(err)
	}
	return nil
}

// OpenFile opens a file that [PushFile] brought to a registry. Its bytes are verified while they are read.
func OpenFile(ctx context.Context, url string) (io.ReadCloser, error) {
	tag, err := parseTag(url)
	if err != nil {
		return nil, err
	}
	options := append(registryOptions(artifactPatience), remote.WithContext(ctx))
	image, err := remote.Get(tag, options...)
	if isMissing(err) {
		return nil, k6x.Errorf(k6x.NotFound, "there is no %s in the registry", tag).WithHint("Export it with k6x cache export, or check the name.").WithCause(err)
	}
	if err != nil {
		return nil, notMoved(err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(image.Manifest))
	if err != nil || len(m.Layers) != 1 || m.Layers[0].MediaType != exportFileType {
		return nil, k6x.Errorf(k6x.Invalid, "%s is no build cache that k6x exported", tag).WithCause(err)
	}
	layer, err := remote.Layer(tag.Context().Digest(m.Layers[0].Digest.String()), options...)
	if err == nil {
		var body io.ReadCloser
		if body, err = layer.Compressed(); err == nil {
			return body, nil
		}
	}
	return nil, notMoved(err)
}

func parseTag(url string) (name.Tag, error) {
	reference, options, err := parseRegistry(url)
	if err != nil {
		return name.Tag{}, err
	}
	tag, err := name.NewTag(reference, append(options, name.StrictValidation)...)
	if err != nil {
		return name.Tag{}, notARegistry(err.Error())
	}
	return tag, nil
}

func notMoved(err error) error {
	return k6x.Errorf(k6x.Unavailable, "the registry does not do what it is asked to").
		WithHint("Check its name, the network, and that docker login has credentials that suffice.").WithCause(err)
}

// fileLayer is a file as a layer of an image. It is compressed already, of which the registry knows nothing.
type fileLayer struct {
	file   string
	digest v1.Hash
	size   int64
}

var _ v1.Layer = (*fileLayer)(nil)

func newFileLayer(file string) (*fileLayer, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, k6x.Errorf(k6x.NotFound, "there is no file %s", file)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	return &fileLayer{file, v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(hash.Sum(nil))}, size}, err
}

func (l *fileLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l *fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.file) }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.file) }
func (l *fileLayer) Size() (int64, error)                 { return l.size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return exportFileType, nil }
