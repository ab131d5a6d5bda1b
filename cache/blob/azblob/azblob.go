// Package azblob keeps blobs in a container of Azure Blob Storage, by its REST interface
// (https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api).
package azblob

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/internal/names"
	"k6x/cache/blob/internal/rest"
)

const (
	version  = "2021-12-02" // of the interface
	pageSize = 1000
	copyTime = 5 * time.Minute // for which what is copied can be read
)

// Bucket is a [blob.Bucket] in Azure Blob Storage.
type Bucket struct {
	account   account
	container string
	client    rest.Client
}

var _ blob.Bucket = (*Bucket)(nil)

// Open opens a container; nothing is sent yet. Parameters are domain, protocol, cdn, localemu and storage_account. Credentials are those
// of the environment: AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING, or else the
// identity that the tools of Azure find, of an application, a workload, a machine or a login. Patience is how long one answer may take.
func Open(container string, params url.Values, patience time.Duration) (*Bucket, error) {
	if container == "" {
		return nil, errors.New("the name of the container is missing")
	}
	a, err := findAccount(params)
	if err != nil {
		return nil, err
	}
	return &Bucket{account: a, container: container, client: rest.Client{
		HTTP: &http.Client{Transport: rest.Transport(patience)}, Pause: patience / 15, Authorize: a.authorize, Explain: explain,
	}}, nil
}

// faults are what codes of the service stand for
// (https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes).
var faults = map[string]blob.Fault{
	"AuthenticationFailed": blob.Credentials, "InvalidAuthenticationInfo": blob.Credentials, "NoAuthenticationInformation": blob.Credentials,
	"ContainerNotFound": blob.NoBucket, "ContainerBeingDeleted": blob.NoBucket, "ContainerDisabled": blob.NoBucket, "ServerBusy": blob.Throttled,
}

// explain reads an error of the service. The answer to a HEAD has a header only.
func explain(_ int, header http.Header, body []byte) blob.ServiceError {
	var answer struct{ Code, Message, AuthenticationErrorDetail string }
	if xml.Unmarshal(body, &answer) != nil {
		answer.Message = fmt.Sprintf("%.200q", body)
	}
	if answer.AuthenticationErrorDetail != "" {
		answer.Message += " " + answer.AuthenticationErrorDetail
	}
	e := blob.ServiceError{Code: cmp.Or(header.Get("X-Ms-Error-Code"), answer.Code), Message: answer.Message}
	switch e.Fault = faults[e.Code]; { // the code is the same for all that can be wrong with credentials
	case e.Fault != blob.Credentials:
	case strings.Contains(e.Message, "expired"), strings.Contains(e.Message, "not valid in the specified time frame"):
		e.Fault = blob.Expired
	case strings.Contains(e.Message, "date header too old"):
		e.Fault = blob.Clock
	}
	return e
}

func escape(name string, whole bool) string {
	return names.Escape(name, func(runes []rune, i int) bool {
		r := runes[i]
		return r < 32 || r == 127 || strings.ContainsRune(`"#%?\`, r) || names.AfterDots(runes, i) || whole && r == '/' && i == len(runes)-1
	})
}

// url returns that of a blob, or of the container if name is "".
func (b *Bucket) url(name string, query url.Values) string {
	u := *b.account.endpoint
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + b.container
	if name != "" {
		u.Path += "/" + escape(name, true)
	}
	all := b.account.sas
	if len(query) > 0 {
		all = strings.Trim(query.Encode()+"&"+all, "&")
	}
	u.RawQuery = all
	return u.String()
}

// Open implements [blob.Bucket].
func (b *Bucket) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	response, err := b.client.Do(ctx, rest.Request{Method: http.MethodGet, URL: b.url(name, nil), Header: rest.From("X-Ms-Range", offset)})
	if err != nil {
		return nil, blob.Info{}, err
	}
	info := infoOf(name, response)
	info.Size = rest.SizeOf(response)
	return response.Body, info, nil
}

// Stat implements [blob.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	response, err := b.client.Do(ctx, rest.Request{Method: http.MethodHead, URL: b.url(name, nil)})
	if err != nil {
		return blob.Info{}, err
	}
	response.Body.Close()
	info := infoOf(name, response)
	info.Size = response.ContentLength
	return info, nil
}

// infoOf returns what the headers of a response say of a blob, but for its size.
func infoOf(name string, response *http.Response) blob.Info {
	info := blob.Info{Name: name, ETag: strings.Trim(response.Header.Get("Etag"), `"`)}
	info.ModTime, _ = http.ParseTime(response.Header.Get("Last-Modified"))
	for _, header := range []string{"X-Ms-Blob-Content-Md5", "Content-Md5"} { // the second is that of a part, if there is the first
		if sum, err := base64.StdEncoding.DecodeString(response.Header.Get(header)); err == nil && len(sum) > 0 {
			info.MD5 = sum
			break
		}
	}
	return info
}

// Put implements [blob.Bucket]. It is one request: one that breaks is sent again from its begin, however large it is.
func (b *Bucket) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	header := http.Header{"X-Ms-Blob-Type": {"BlockBlob"}}
	for name, value := range map[string]string{"X-Ms-Blob-Content-Type": o.ContentType, "X-Ms-Blob-Content-Disposition": o.Disposition} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if o.IfAbsent {
		header.Set("If-None-Match", "*")
	}
	response, err := b.client.Do(ctx, rest.Request{
		Method: http.MethodPut, URL: b.url(name, nil), Header: header,
		Body: func() io.Reader { return rest.Whole(body, size) }, Size: size,
	})
	if err != nil {
		return blob.Info{}, err
	}
	response.Body.Close()
	info := infoOf(name, response)
	info.Size = size
	return info, nil
}

// Delete implements [blob.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return blob.IgnoreAbsent(b.client.Discard(ctx, rest.Request{Method: http.MethodDelete, URL: b.url(name, nil)}))
}

// listing is a page of the blobs in a container.
type listing struct {
	Blobs []struct {
		Name       string
		Properties struct {
			Modified string `xml:"Last-Modified"`
			ETag     string `xml:"Etag"`
			Size     int64  `xml:"Content-Length"`
			MD5      string `xml:"Content-MD5"`
		}
	} `xml:"Blobs>Blob"`
	Next string `xml:"NextMarker"`
}

// List implements [blob.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	query := url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {escape(prefix, false)}, "maxresults": {strconv.Itoa(pageSize)}}
	return rest.List(func(after string) (blobs []blob.Info, next string, err error) {
		if query.Del("marker"); after != "" {
			query.Set("marker", after)
		}
		var page listing
		request := rest.Request{Method: http.MethodGet, URL: b.url("", query)}
		err = b.client.Decode(ctx, request, "listing of a container", rest.MaxPage, func(r io.Reader) error { return xml.NewDecoder(r).Decode(&page) })
		for _, item := range page.Blobs {
			info := blob.Info{Name: names.Unescape(item.Name), Size: item.Properties.Size, ETag: strings.Trim(item.Properties.ETag, `"`)}
			info.ModTime, _ = http.ParseTime(item.Properties.Modified)
			info.MD5, _ = base64.StdEncoding.DecodeString(item.Properties.MD5)
			blobs = append(blobs, info)
		}
		return blobs, page.Next, err
	})
}

// SignedURL implements [blob.Bucket]. It takes the key of the account.
func (b *Bucket) SignedURL(_ context.Context, name string, life time.Duration) (string, error) {
	return b.signed(read, name, life)
}

func (b *Bucket) signed(may, name string, life time.Duration) (string, error) {
	query, err := b.account.sign(may, b.container+"/"+escape(name, true), life, time.Now())
	if err != nil {
		return "", err
	}
	return b.url(name, query), nil
}

// SignedPut implements [blob.Bucket]. The service does not bound the size.
func (b *Bucket) SignedPut(_ context.Context, name string, _ int64, life time.Duration) (blob.SignedRequest, error) {
	signed, err := b.signed(create, name, life)
	return blob.SignedRequest{URL: signed, Header: http.Header{"X-Ms-Blob-Type": {"BlockBlob"}}}, err
}

// Copy implements [blob.Bucket], for blobs of at most 256 MiB. A copy has the properties of the other blob, until it gets its own.
func (b *Bucket) Copy(ctx context.Context, from, etag, name string, o blob.PutOptions) (blob.Info, error) {
	source, err := b.signed(read, from, copyTime)
	if err != nil {
		return blob.Info{}, err
	}
	err = b.client.Discard(ctx, rest.Request{Method: http.MethodPut, URL: b.url(name, nil), Header: http.Header{
		"X-Ms-Copy-Source": {source}, "X-Ms-Requires-Sync": {"true"}, "X-Ms-Source-If-Match": {`"` + etag + `"`},
	}})
	if err != nil {
		return blob.Info{}, err
	}
	info, err := b.Stat(ctx, name)
	if err != nil {
		return blob.Info{}, err
	}
	return info, b.client.Discard(ctx, rest.Request{Method: http.MethodPut, URL: b.url(name, url.Values{"comp": {"properties"}}), Header: http.Header{
		"X-Ms-Blob-Content-Type": {o.ContentType}, "X-Ms-Blob-Content-Disposition": {o.Disposition}, "X-Ms-Blob-Content-Md5": {base64.StdEncoding.EncodeToString(info.MD5)},
	}})
}

// Close implements [blob.Bucket].
func (b *Bucket) Close() error {
	b.client.HTTP.CloseIdleConnections()
	return nil
}
