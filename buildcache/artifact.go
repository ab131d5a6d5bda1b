package buildcache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"k6x/internal/disk"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"k6x"
)

// Media types of an exported file in a registry.
const (
	exportType     = "application/vnd.k6x.export.v1"
	exportFileType = "application/vnd.k6x.export.file.v1.tar+zstd"
)

const artifactTimeout = time.Minute // for the begin of each answer of the registry

// PushFile brings a file that [Export] wrote to a registry: oci://HOST/REPOSITORY:TAG, with ?insecure=true for one
// without TLS. Its credentials are those of docker login.
func PushFile(ctx context.Context, url, file string) error {
	r, tag, err := openTag(url)
	if err != nil {
		return err
	}
	layer, err := newFileLayer(ctx, file)
	if err != nil {
		return err
	}
	if err := r.writeTag(ctx, tag.TagStr(), v1.Manifest{ArtifactType: exportType}, layer); err != nil {
		return notMoved(err)
	}
	return nil
}

// OpenFile opens a file that [PushFile] brought to a registry. Its bytes are verified while they are read.
func OpenFile(ctx context.Context, url string) (io.ReadCloser, error) {
	r, tag, err := openTag(url)
	if err != nil {
		return nil, err
	}
	body, err := r.readTag(ctx, tag.TagStr(), exportFileType)
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, k6x.Errorf(k6x.NotFound, "there is no %s in the registry", tag).WithHint("Export it with k6x cache export, or check the name.").WithCause(err)
	case errors.Is(err, errOther):
		return nil, k6x.Errorf(k6x.Invalid, "%s is no build cache that k6x exported", tag).WithCause(err)
	}
	return nil, notMoved(err)
}

func openTag(url string) (*registry, name.Tag, error) {
	reference, options, err := parseRegistry(url)
	if err != nil {
		return nil, name.Tag{}, err
	}
	tag, err := name.NewTag(reference, append(options, name.StrictValidation)...)
	if err != nil {
		return nil, name.Tag{}, notARegistry(err.Error())
	}
	return &registry{repo: tag.Context(), options: registryOptions(artifactTimeout)}, tag, nil
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

func newFileLayer(ctx context.Context, file string) (*fileLayer, error) {
	digest, size, err := disk.DigestFile(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		err = k6x.Errorf(k6x.NotFound, "there is no file %s", file)
	}
	return &fileLayer{file, v1.Hash{Algorithm: "sha256", Hex: digest}, size}, err
}

func (l *fileLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l *fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.file) }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.file) }
func (l *fileLayer) Size() (int64, error)                 { return l.size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return exportFileType, nil }
