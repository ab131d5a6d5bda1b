package buildcache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x/cache/blob"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"k6x"
)

// Media types of the objects in a registry.
const (
	artifactType = "application/vnd.k6x.buildcache.v1"
	indexType    = "application/vnd.k6x.buildcache.index.v1+zstd"
	packType     = "application/vnd.k6x.buildcache.pack.v1+zstd"
)

// registry is a remote level in a repository of container images. A pack is a blob; an index is an image with a tag, its first layer
// the index and the others the packs, so that the registry keeps them.
type registry struct {
	repo    name.Repository
	options []remote.Option

	mu     sync.Mutex // guards puller
	puller *remote.Puller
}

var _ Store = (*registry)(nil)

func openRegistry(url string) (Store, error) {
	reference, options, err := parseRegistry(url)
	if err != nil {
		return nil, err
	}
	repo, err := name.NewRepository(reference, append(options, name.StrictValidation)...)
	if err != nil {
		return nil, notARegistry(err.Error())
	}
	return &registry{repo: repo, options: registryOptions(patience)}, nil
}

// parseRegistry splits the URL of a repository or a tag.
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

func (r *registry) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		tags, err := r.tags(ctx)
		if err != nil {
			yield(blob.Info{}, err)
			return
		}
		for _, tag := range tags {
			if name := indexDir + tag; strings.HasPrefix(name, prefix) && !yield(blob.Info{Name: name}, nil) {
				return
			}
		}
	}
}

func (r *registry) tags(ctx context.Context) (tags []string, err error) {
	err = r.pull(func(puller *remote.Puller) error {
		pages, err := puller.Lister(ctx, r.repo)
		for err == nil && pages.HasNext() && len(tags) <= maxListed {
			var page *remote.Tags
			if page, err = pages.Next(ctx); err == nil {
				tags = append(tags, page.Tags...)
			}
		}
		if len(tags) > maxListed {
			return fmt.Errorf("more than %d tags", maxListed)
		}
		return missing(err)
	})
	if errors.Is(err, fs.ErrNotExist) { // there is no repository before the first write
		return nil, nil
	}
	return tags, err
}

func (r *registry) Read(ctx context.Context, object string) (body io.ReadCloser, err error) {
	if id, ok := strings.CutPrefix(object, packDir); ok {
		err = r.pull(func(puller *remote.Puller) error {
			body, err = r.layer(ctx, puller, "sha256:"+id)
			return err
		})
		return body, err
	}
	return r.readTag(ctx, strings.TrimPrefix(object, indexDir), indexType)
}

// readTag returns the bytes of the first layer of an image. It returns an errOther if that is of another type.
func (r *registry) readTag(ctx context.Context, tag string, kind types.MediaType) (body io.ReadCloser, err error) {
	err = r.pull(func(puller *remote.Puller) error {
		image, err := puller.Get(ctx, r.repo.Tag(tag))
		if err != nil {
			return missing(err)
		}
		m, err := v1.ParseManifest(bytes.NewReader(image.Manifest))
		if err != nil || len(m.Layers) == 0 || m.Layers[0].MediaType != kind {
			return errors.Join(errOther, err)
		}
		body, err = r.layer(ctx, puller, m.Layers[0].Digest.String())
		return err
	})
	return body, err
}

func (r *registry) layer(ctx context.Context, puller *remote.Puller, digest string) (io.ReadCloser, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return nil, err
	}
	layer, err := puller.Layer(ctx, r.repo.Digest(digest))
	if err != nil {
		return nil, missing(err)
	}
	body, err := layer.Compressed()
	return body, missing(err)
}

func (r *registry) Write(ctx context.Context, object string, body []byte, needs []packed) error {
	if strings.HasPrefix(object, packDir) {
		return remote.WriteLayer(r.repo, static.NewLayer(body, packType), r.with(ctx)...)
	}
	tag := strings.TrimPrefix(object, indexDir)
	m := v1.Manifest{
		ArtifactType: artifactType,
		Annotations:  map[string]string{"org.opencontainers.image.ref.name": tag}, // so that no other tag has the same digest
	}
	for _, need := range needs {
		digest := v1.Hash{Algorithm: "sha256", Hex: need.ID.String()}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: packType, Digest: digest, Size: need.Size})
	}
	return r.writeTag(ctx, tag, m, static.NewLayer(body, indexType))
}

// writeTag sends a layer, which becomes the first one, and the manifest of an image.
func (r *registry) writeTag(ctx context.Context, tag string, m v1.Manifest, layer v1.Layer) error {
	config := static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")
	var sent []v1.Descriptor
	for _, l := range []v1.Layer{config, layer} {
		if err := remote.WriteLayer(r.repo, l, r.with(ctx)...); err != nil {
			return err
		}
		d, err := partial.Descriptor(l)
		if err != nil {
			return err
		}
		sent = append(sent, *d)
	}
	m.SchemaVersion, m.MediaType, m.Config, m.Layers = 2, types.OCIManifestSchema1, sent[0], slices.Insert(m.Layers, 0, sent[1])
	return remote.Put(r.repo.Tag(tag), manifest{m}, r.with(ctx)...)
}

// Delete removes an index. Packs are for the registry's garbage collection.
func (r *registry) Delete(ctx context.Context, object string) error {
	name, ok := strings.CutPrefix(object, indexDir)
	if !ok {
		return nil
	}
	tag := r.repo.Tag(name)
	err := remote.Delete(tag, r.with(ctx)...)
	if status(err) == http.StatusBadRequest || status(err) == http.StatusMethodNotAllowed {
		// That of Docker removes by digest only.
		var found *v1.Descriptor
		if found, err = remote.Head(tag, r.with(ctx)...); err == nil {
			err = remote.Delete(r.repo.Digest(found.Digest.String()), r.with(ctx)...)
		}
	}
	return blob.IgnoreAbsent(missing(err))
}

func (r *registry) Close() error { return nil }

// manifest is one that can be put into a registry.
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

// missing returns err, as an fs.ErrNotExist if the registry does not have the object.
func missing(err error) error {
	if status(err) == http.StatusNotFound {
		return notThere(err)
	}
	return err
}
