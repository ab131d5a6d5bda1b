package buildcache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"k6x"
)

// Media types of what is in a registry.
const (
	artifactType = "application/vnd.k6x.buildcache.v1"
	indexType    = "application/vnd.k6x.buildcache.index.v1+zstd"
	packType     = "application/vnd.k6x.buildcache.pack.v1+zstd"
)

// registry is a far level in a repository of container images. A pack is a blob; an index is an image with a tag, its first layer
// the index and the others the packs, so that the registry keeps them.
type registry struct {
	repo    name.Repository
	options []remote.Option

	mu     sync.Mutex // guards puller
	puller *remote.Puller
}

var _ Store = (*registry)(nil)

func openRegistry(cfg StoreConfig) (Store, error) {
	reference, options, err := parseRegistry(cfg.URL)
	if err != nil {
		return nil, err
	}
	repo, err := name.NewRepository(reference, append(options, name.StrictValidation)...)
	if err != nil {
		return nil, notARegistry(err.Error())
	}
	return &registry{repo: repo, options: registryOptions(cfg.Patience)}, nil
}

// parseRegistry splits the URL of something in a registry.
func parseRegistry(text string) (reference string, options []name.Option, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", nil, notARegistry("there may be nothing but host and repository") // it is not repeated: there may be a password in it
	}
	for key, values := range u.Query() {
		if key != "insecure" || len(values) != 1 || values[0] != "true" && values[0] != "false" {
			return "", nil, notARegistry(fmt.Sprintf("%.40q is not an option", key))
		}
		if values[0] == "true" {
			options = append(options, name.Insecure)
		}
	}
	return u.Host + "/" + strings.Trim(u.Path, "/"), options, nil
}

func notARegistry(why string) error {
	return k6x.Errorf(k6x.Invalid, "the URL of the shared build cache is not one of a repository in a registry: %s", why).
		WithHint("Write oci://HOST/REPOSITORY, with a tag for an export and without one else; for a registry without TLS add ?insecure=true. Credentials are those of docker login.")
}

func registryOptions(patience time.Duration) []remote.Option {
	client := http.DefaultTransport.(*http.Transport).Clone()
	client.ResponseHeaderTimeout = patience / 2
	client.MaxIdleConnsPerHost = 16
	return []remote.Option{
		remote.WithTransport(client), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("k6x"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 100 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
}

func (r *registry) with(ctx context.Context) []remote.Option {
	return append([]remote.Option{remote.WithContext(ctx)}, r.options...)
}

// pull calls f with a client that has introduced itself to the registry, once for many requests. One that met an
// error is not used again, as it remembers it.
func (r *registry) pull(f func(*remote.Puller) error) error {
	r.mu.Lock()
	puller := r.puller
	r.mu.Unlock()
	if puller == nil {
		var err error
		if puller, err = remote.NewPuller(r.options...); err != nil {
			return err
		}
	}
	err := f(puller)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		r.puller = puller
	} else {
		r.puller = nil
	}
	return err
}

func (r *registry) List(ctx context.Context, prefix string) (names []string, err error) {
	err = r.pull(func(puller *remote.Puller) error {
		pages, err := puller.Lister(ctx, r.repo)
		if err != nil {
			return missing(err)
		}
		for tags := 0; pages.HasNext(); {
			page, err := pages.Next(ctx)
			if err != nil {
				return missing(err)
			}
			for _, tag := range page.Tags {
				if object := indexDir + tag; strings.HasPrefix(object, prefix) {
					names = append(names, object)
				}
			}
			if tags += len(page.Tags); tags > maxListed {
				return fmt.Errorf("more than %d tags", maxListed)
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) { // there is no repository before the first write
		return nil, nil
	}
	return names, err
}

func (r *registry) Open(ctx context.Context, object string) (body io.ReadCloser, err error) {
	err = r.pull(func(puller *remote.Puller) error {
		digest, isPack := strings.CutPrefix(object, packDir)
		digest = "sha256:" + digest
		if !isPack {
			if digest, err = r.indexDigest(ctx, puller, strings.TrimPrefix(object, indexDir)); err != nil {
				return missing(err)
			}
		}
		if _, err := v1.NewHash(digest); err != nil {
			return err
		}
		layer, err := puller.Layer(ctx, r.repo.Digest(digest))
		if err != nil {
			return missing(err)
		}
		body, err = layer.Compressed()
		return missing(err)
	})
	return body, err
}

func (r *registry) indexDigest(ctx context.Context, puller *remote.Puller, tag string) (string, error) {
	image, err := puller.Get(ctx, r.repo.Tag(tag))
	if err != nil {
		return "", err
	}
	m, err := v1.ParseManifest(bytes.NewReader(image.Manifest))
	if err != nil || len(m.Layers) == 0 || m.Layers[0].MediaType != indexType {
		return "", errors.Join(errOther, err)
	}
	return m.Layers[0].Digest.String(), nil
}

func (r *registry) Put(ctx context.Context, object string, body []byte, needs []Object) error {
	if strings.HasPrefix(object, packDir) {
		_, err := r.upload(ctx, body, packType)
		return err
	}
	tag := strings.TrimPrefix(object, indexDir)
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType,
		Annotations: map[string]string{"org.opencontainers.image.ref.name": tag}, // so that no other tag has the same digest
	}
	var err error
	if m.Config, err = r.upload(ctx, []byte("{}"), "application/vnd.oci.empty.v1+json"); err != nil {
		return err
	}
	index, err := r.upload(ctx, body, indexType)
	if err != nil {
		return err
	}
	m.Layers = append(m.Layers, index)
	for _, need := range needs {
		digest, err := v1.NewHash("sha256:" + strings.TrimPrefix(need.Name, packDir))
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: packType, Digest: digest, Size: need.Size})
	}
	return remote.Put(r.repo.Tag(tag), manifest{m}, r.with(ctx)...)
}

func (r *registry) upload(ctx context.Context, body []byte, kind types.MediaType) (v1.Descriptor, error) {
	layer := static.NewLayer(body, kind)
	digest, err := layer.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: kind, Digest: digest, Size: int64(len(body))}, remote.WriteLayer(r.repo, layer, r.with(ctx)...)
}

func (r *registry) Remove(ctx context.Context, object string) error {
	tag := r.repo.Tag(strings.TrimPrefix(object, indexDir))
	err := remote.Delete(tag, r.with(ctx)...)
	if status(err) == http.StatusBadRequest || status(err) == http.StatusMethodNotAllowed {
		// That of Docker removes by digest only.
		var found *v1.Descriptor
		if found, err = remote.Head(tag, r.with(ctx)...); err == nil {
			err = remote.Delete(r.repo.Digest(found.Digest.String()), r.with(ctx)...)
		}
	}
	if isMissing(err) {
		return nil
	}
	return err
}

func (r *registry) Close() error { return nil }

// manifest is what the registry is given for an index.
type manifest struct{ v1.Manifest }

func (m manifest) RawManifest() ([]byte, error) { return json.Marshal(m.Manifest) }

func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// status returns the one that a registry answered with, 0 if it did not.
func status(err error) int {
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return e.StatusCode
	}
	return 0
}

func isMissing(err error) bool { return status(err) == http.StatusNotFound }

func missing(err error) error {
	if isMissing(err) {
		return notThere(err)
	}
	return err
}
