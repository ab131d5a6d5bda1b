// Package gs keeps blobs in a bucket of Google Cloud Storage, by its JSON interface
// (https://cloud.google.com/storage/docs/json_api/v1).
package gs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/internal/names"
	"k6x/cache/blob/internal/rest"
)

const (
	pageSize = 1000
	maxInfo  = 1 << 20 // bytes of what is said of one object
)

// Bucket is a [blob.Bucket] in Google Cloud Storage.
type Bucket struct {
	name   string
	base   string // of all URLs, such as https://storage.googleapis.com
	client rest.Client
	signer *signer // nil: URLs cannot be signed
}

var _ blob.Bucket = (*Bucket)(nil)

// Open opens a bucket; nothing is sent yet. Parameters are anonymous, access_id, private_key_path and universe_domain. Credentials
// are those that programs of Google take by default (https://cloud.google.com/docs/authentication/application-default-credentials).
// With STORAGE_EMULATOR_HOST=HOST:PORT there are none, and that server is asked. Patience is how long one answer may take.
func Open(ctx context.Context, name string, params url.Values, patience time.Duration) (*Bucket, error) {
	p, err := parse(params)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, errors.New("the name of the bucket is missing")
	}
	b := &Bucket{name: name, client: rest.Client{
		HTTP: &http.Client{Transport: rest.Transport(patience)}, Pause: patience / 15,
		Authorize: func(*http.Request) error { return nil }, Explain: explain,
	}}
	if host := os.Getenv("STORAGE_EMULATOR_HOST"); host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		b.base = strings.TrimSuffix(host, "/")
		return b, nil
	}
	credentials, err := p.credentials(ctx, &http.Client{Transport: b.client.HTTP.Transport, Timeout: patience / 3})
	if err != nil {
		return nil, err
	}
	b.base, b.signer = "https://storage."+credentials.domain, credentials.signer
	if credentials.tokens != nil {
		b.client.Authorize = func(r *http.Request) error {
			token, err := fetch(r.Context(), credentials.tokens)
			if err != nil {
				return refused(err)
			}
			token.SetAuthHeader(r)
			return nil
		}
	}
	return b, nil
}

// explain reads an error of the service.
func explain(status int, _ http.Header, body []byte) (e blob.ServiceError) {
	var answer struct {
		Error struct {
			Message string
			Errors  []struct{ Reason string }
		}
	}
	if json.Unmarshal(body, &answer) != nil {
		answer.Error.Message = fmt.Sprintf("%.200q", body)
	}
	if e.Message = answer.Error.Message; len(answer.Error.Errors) > 0 {
		e.Code = answer.Error.Errors[0].Reason
	}
	switch {
	case strings.HasSuffix(strings.ToLower(e.Code), "ratelimitexceeded"):
		e.Fault = blob.Throttled
	case status == http.StatusUnauthorized:
		e.Fault = blob.Credentials
	case status == http.StatusNotFound && strings.Contains(e.Message, "bucket does not exist"): // has the code of an object that does not
		e.Fault = blob.NoBucket
	}
	return e
}

func escape(name string) string {
	return names.Escape(name, func(runes []rune, i int) bool {
		return runes[i] == '\n' || runes[i] == '\r' || names.AfterDots(runes, i)
	})
}

// object returns the URL of an object.
func (b *Bucket) object(name string) string {
	return b.base + "/storage/v1/b/" + url.PathEscape(b.name) + "/o/" + strings.ReplaceAll(url.PathEscape(escape(name)), "/", "%2F")
}

// resource is what the service says of an object.
type resource struct {
	Name       string    `json:"name"`
	Size       string    `json:"size"`
	Updated    time.Time `json:"updated"`
	Generation string    `json:"generation"` // another one when the object has changed, and what conditions are about
	MD5        []byte    `json:"md5Hash"`
}

func (r resource) info() (blob.Info, error) {
	size, err := strconv.ParseInt(r.Size, 10, 64)
	if err != nil {
		return blob.Info{}, fmt.Errorf("size of the object %.100q: %w", r.Name, err)
	}
	return blob.Info{Name: names.Unescape(r.Name), Size: size, ModTime: r.Updated, ETag: r.Generation, MD5: r.MD5}, nil
}

// Open implements [blob.Bucket].
func (b *Bucket) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	response, err := b.client.Do(ctx, rest.Request{Method: http.MethodGet, URL: b.object(name) + "?alt=media", Header: rest.From("Range", offset)})
	if err != nil {
		return nil, blob.Info{}, err
	}
	info := blob.Info{Name: name, Size: rest.SizeOf(response), ETag: response.Header.Get("X-Goog-Generation")}
	info.ModTime, _ = http.ParseTime(response.Header.Get("Last-Modified"))
	for _, sums := range response.Header.Values("X-Goog-Hash") {
		for sum := range strings.SplitSeq(sums, ",") {
			if text, ok := strings.CutPrefix(sum, "md5="); ok {
				info.MD5, _ = base64.StdEncoding.DecodeString(text)
			}
		}
	}
	return response.Body, info, nil
}

// Stat implements [blob.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	return b.describe(ctx, rest.Request{Method: http.MethodGet, URL: b.object(name)})
}

// describe sends a request whose answer says what an object is.
func (b *Bucket) describe(ctx context.Context, request rest.Request) (blob.Info, error) {
	var r resource
	err := b.client.Decode(ctx, request, "what the service says of an object", maxInfo, func(body io.Reader) error { return json.NewDecoder(body).Decode(&r) })
	if err != nil {
		return blob.Info{}, err
	}
	return r.info()
}

// Put implements [blob.Bucket]. It is one request, which has what is to be known of the object and its bytes: one that breaks is sent again
// from its begin, however large it is.
func (b *Bucket) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	query := url.Values{"uploadType": {"multipart"}}
	if o.IfAbsent {
		query.Set("ifGenerationMatch", "0")
	}
	about, err := json.Marshal(map[string]string{"name": escape(name), "contentType": o.ContentType, "contentDisposition": o.Disposition})
	if err != nil {
		return blob.Info{}, err
	}
	var frame bytes.Buffer
	parts := multipart.NewWriter(&frame)
	first, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json; charset=UTF-8"}})
	if err == nil {
		_, err = first.Write(about)
	}
	if err == nil {
		_, err = parts.CreatePart(textproto.MIMEHeader{"Content-Type": {o.ContentType}})
	}
	head := frame.Len()
	if err = errors.Join(err, parts.Close()); err != nil {
		return blob.Info{}, err
	}
	before, after := frame.Bytes()[:head], frame.Bytes()[head:]
	return b.describe(ctx, rest.Request{
		Method: http.MethodPost,
		URL:    b.base + "/upload/storage/v1/b/" + url.PathEscape(b.name) + "/o?" + query.Encode(),
		Header: http.Header{"Content-Type": {"multipart/related; boundary=" + parts.Boundary()}},
		Body: func() io.Reader {
			return io.MultiReader(bytes.NewReader(before), rest.Whole(body, size), bytes.NewReader(after))
		},
		Size: int64(frame.Len()) + size,
	})
}

// Delete implements [blob.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return blob.IgnoreAbsent(b.client.Discard(ctx, rest.Request{Method: http.MethodDelete, URL: b.object(name)}))
}

// List implements [blob.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	query := url.Values{"prefix": {escape(prefix)}, "maxResults": {strconv.Itoa(pageSize)}, "fields": {"nextPageToken,items(name,size,updated,generation,md5Hash)"}}
	return rest.List(func(after string) (blobs []blob.Info, next string, err error) {
		if query.Del("pageToken"); after != "" {
			query.Set("pageToken", after)
		}
		var page struct {
			Items []resource `json:"items"`
			Next  string     `json:"nextPageToken"`
		}
		request := rest.Request{Method: http.MethodGet, URL: b.base + "/storage/v1/b/" + url.PathEscape(b.name) + "/o?" + query.Encode()}
		err = b.client.Decode(ctx, request, "listing of a bucket", rest.MaxPage, func(r io.Reader) error { return json.NewDecoder(r).Decode(&page) })
		for _, item := range page.Items {
			info, wrong := item.info()
			blobs, err = append(blobs, info), cmp.Or(err, wrong)
		}
		return blobs, page.Next, err
	})
}

// SignedURL implements [blob.Bucket]. It takes the key of a service account.
func (b *Bucket) SignedURL(_ context.Context, name string, life time.Duration) (string, error) {
	return b.sign(http.MethodGet, name, nil, life)
}

// SignedPut implements [blob.Bucket], as SignedURL.
func (b *Bucket) SignedPut(_ context.Context, name string, size int64, life time.Duration) (blob.SignedRequest, error) {
	header := http.Header{"X-Goog-Content-Length-Range": {fmt.Sprintf("%d,%[1]d", size)}, "X-Goog-If-Generation-Match": {"0"}}
	signed, err := b.sign(http.MethodPut, name, header, life)
	return blob.SignedRequest{URL: signed, Header: header}, err
}

func (b *Bucket) sign(method, name string, header http.Header, life time.Duration) (string, error) {
	if b.signer == nil {
		return "", fmt.Errorf("without the key of a service account there are no signed URLs: %w", errors.ErrUnsupported)
	}
	base, err := url.Parse(b.base)
	if err != nil {
		return "", err
	}
	return b.signer.sign(method, base.Host, "/"+b.name+"/"+escape(name), header, life, time.Now())
}

// Copy implements [blob.Bucket]. One that takes several requests, as into another class of storage, fails.
func (b *Bucket) Copy(ctx context.Context, from, etag, name string, o blob.PutOptions) (blob.Info, error) {
	about, err := json.Marshal(map[string]string{"contentType": o.ContentType, "contentDisposition": o.Disposition})
	if err != nil {
		return blob.Info{}, err
	}
	var answer struct {
		Done     bool     `json:"done"`
		Resource resource `json:"resource"`
	}
	err = b.client.Decode(ctx, rest.Request{
		Method: http.MethodPost,
		URL:    b.object(from) + "/rewriteTo" + strings.TrimPrefix(b.object(name), b.base+"/storage/v1") + "?sourceGeneration=" + url.QueryEscape(etag),
		Header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}},
		Body:   func() io.Reader { return bytes.NewReader(about) }, Size: int64(len(about)),
	}, "what the service says of a copy", maxInfo, func(body io.Reader) error { return json.NewDecoder(body).Decode(&answer) })
	if err == nil && !answer.Done {
		err = errors.New("the service has not copied all of it at once")
	}
	if err != nil {
		return blob.Info{}, err
	}
	return answer.Resource.info()
}

// Close implements [blob.Bucket].
func (b *Bucket) Close() error {
	b.client.HTTP.CloseIdleConnections()
	return nil
}
