// Package s3 keeps blobs in a bucket of S3, or of a server that speaks its protocol.
package s3

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"k6x/cache/blob"
	"k6x/cache/blob/internal/names"
	"k6x/cache/blob/internal/rest"
)

const (
	parallel  = 2                // parts of an upload on their way at once
	abortTime = 10 * time.Second // for taking back a broken upload
	pageSize  = 1000
)

// Bucket is a [blob.Bucket] in S3.
type Bucket struct {
	name   string
	core   minio.Core
	secure bool
	http   *http.Transport
}

var (
	_ blob.Bucket  = (*Bucket)(nil)
	_ blob.Sweeper = (*Bucket)(nil)
)

// Open opens a bucket; nothing is sent yet. Parameters and credentials are those of [config]. Patience is how long one answer may take.
func Open(name string, params url.Values, patience time.Duration) (*Bucket, error) {
	if name == "" {
		return nil, errors.New("the name of the bucket is missing")
	}
	c, err := parse(params)
	if err != nil {
		return nil, err
	}
	transport := rest.Transport(patience)
	client, err := minio.New(c.host, &minio.Options{
		Creds: c.credentials(transport, patience), Secure: c.secure, Transport: transport, Region: c.region, BucketLookup: c.lookup(name), MaxRetries: 3,
	})
	if err != nil {
		return nil, err
	}
	client.SetAppInfo("k6x", "1")
	client.SetS3EnableDualstack(c.dualstack)
	if c.accelerate {
		client.SetS3TransferAccelerate("s3-accelerate.amazonaws.com")
	}
	return &Bucket{name, minio.Core{Client: client}, c.secure, transport}, nil
}

// faults are what codes of the service stand for (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
var faults = map[string]blob.Fault{
	"InvalidAccessKeyId": blob.Credentials, "SignatureDoesNotMatch": blob.Credentials, "InvalidToken": blob.Credentials, "NotSignedUp": blob.Credentials,
	"XAdminUserNotFound":           blob.Credentials, // of versitygw
	"AuthorizationHeaderMalformed": blob.Credentials, "InvalidClientTokenId": blob.Credentials, "UnrecognizedClientException": blob.Credentials,
	"ExpiredToken": blob.Expired, "ExpiredTokenException": blob.Expired, "TokenRefreshRequired": blob.Expired, "RequestExpired": blob.Expired,
	"RequestTimeTooSkewed": blob.Clock, "RequestInTheFuture": blob.Clock, "NoSuchBucket": blob.NoBucket,
	"PermanentRedirect": blob.Region, "TemporaryRedirect": blob.Region, "InvalidRegion": blob.Region, "IllegalLocationConstraintException": blob.Region,
	"SlowDown": blob.Throttled, "SlowDownRead": blob.Throttled, "SlowDownWrite": blob.Throttled, "Throttling": blob.Throttled, "ThrottlingException": blob.Throttled,
}

// explain returns an error of the client as one of a [blob.Bucket].
func explain(err error) error {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok || answer.StatusCode == 0 {
		return err
	}
	e := &blob.ServiceError{Status: answer.StatusCode, Code: answer.Code, Message: answer.Message, Fault: faults[answer.Code]}
	switch {
	case answer.Code == "InvalidObjectState" || answer.Code == "ObjectNotInActiveTierError": // archived: as good as gone
		e.Status = http.StatusNotFound
	case answer.Region != "" && (answer.Code == "AuthorizationHeaderMalformed" || e.Fault == "" && (e.Status == http.StatusBadRequest || e.Status/100 == 3)):
		e.Fault = blob.Region
	}
	if e.Fault == blob.Region && answer.Region != "" {
		e.Message += " The bucket is in the region " + answer.Region + "."
	}
	return e
}

func escape(name string) string {
	return names.Escape(name, func(runes []rune, i int) bool { return runes[i] < 32 || names.AfterDots(runes, i) })
}

// infoOf returns what the service says of an object. The ETag of one that came in one piece is the MD5 of its bytes, unless it is encrypted.
func infoOf(name string, o minio.ObjectInfo) blob.Info {
	info := blob.Info{Name: name, Size: o.Size, ModTime: o.LastModified, ETag: strings.Trim(o.ETag, `"`)}
	if sum, err := hex.DecodeString(info.ETag); err == nil && len(sum) == 16 {
		info.MD5 = sum
	}
	return info
}

// Open implements [blob.Bucket].
func (b *Bucket) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	var o minio.GetObjectOptions
	if offset > 0 {
		if err := o.SetRange(offset, 0); err != nil {
			return nil, blob.Info{}, err
		}
	}
	body, object, header, err := b.core.GetObject(ctx, b.name, escape(name), o)
	if err != nil {
		return nil, blob.Info{}, explain(err)
	}
	info := infoOf(name, object)
	info.Size = rest.SizeOf(&http.Response{Header: header, ContentLength: object.Size})
	return body, info, nil
}

// Stat implements [blob.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	object, err := b.core.StatObject(ctx, b.name, escape(name), minio.StatObjectOptions{})
	if err != nil {
		return blob.Info{}, explain(err)
	}
	return infoOf(name, object), nil
}

// Put implements [blob.Bucket]. A large blob goes in parts, each of which is tried again for itself.
func (b *Bucket) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	options := minio.PutObjectOptions{ContentType: o.ContentType, ContentDisposition: o.Disposition, DisableContentSha256: true}
	if o.IfAbsent {
		options.SetMatchETagExcept("*")
	}
	var sent minio.UploadInfo
	var err error
	if size <= blob.PartSize {
		var md5Sum, shaSum string
		if md5Sum, shaSum, err = b.sums(body, 0, size); err == nil {
			sent, err = b.core.PutObject(ctx, b.name, escape(name), io.NewSectionReader(body, 0, size), size, md5Sum, shaSum, options)
		}
	} else {
		sent, err = b.putParts(ctx, escape(name), body, size, options)
	}
	if err != nil {
		return blob.Info{}, explain(err)
	}
	return infoOf(name, minio.ObjectInfo{ETag: sent.ETag, Size: size, LastModified: sent.LastModified}), nil
}

func (b *Bucket) putParts(ctx context.Context, key string, body io.ReaderAt, size int64, o minio.PutObjectOptions) (sent minio.UploadInfo, err error) {
	id, err := b.core.NewMultipartUpload(ctx, b.name, key, o)
	if err != nil {
		return sent, err
	}
	defer func() {
		if err != nil { // also when ctx has ended
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
			defer cancel()
			if abortErr := b.core.AbortMultipartUpload(limited, b.name, key, id); abortErr != nil {
				err = fmt.Errorf("%w; the upload cannot be taken back: %v", explain(err), abortErr) // only the first says what became of the blob
			}
		}
	}()
	parts := make([]minio.CompletePart, (size+blob.PartSize-1)/blob.PartSize)
	group, partCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range parts {
		group.Go(func() error {
			offset := int64(i) * blob.PartSize
			length := min(blob.PartSize, size-offset)
			md5Sum, shaSum, err := b.sums(body, offset, length)
			if err != nil {
				return err
			}
			part, err := b.core.PutObjectPart(partCtx, b.name, key, id, i+1, io.NewSectionReader(body, offset, length), length,
				minio.PutObjectPartOptions{Md5Base64: md5Sum, Sha256Hex: shaSum, DisableContentSha256: true})
			parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: part.ETag}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return sent, err
	}
	sent, err = b.core.CompleteMultipartUpload(ctx, b.name, key, id, parts, o)
	if err == nil || errors.Is(explain(err), fs.ErrExist) || errors.Is(explain(err), blob.ErrContended) {
		return sent, err
	}
	// The answer may be lost of an upload that is complete. When the client asks again, there is no upload any more.
	if want := uploadETag(parts); want != "" {
		if object, statErr := b.core.StatObject(ctx, b.name, key, minio.StatObjectOptions{}); statErr == nil && strings.Trim(object.ETag, `"`) == want {
			return minio.UploadInfo{ETag: object.ETag, LastModified: object.LastModified}, nil
		}
	}
	return sent, err
}

// uploadETag returns the ETag that S3 gives to an upload of parts, or "" if theirs are not the MD5 of their bytes.
func uploadETag(parts []minio.CompletePart) string {
	all := md5.New()
	for _, part := range parts {
		sum, err := hex.DecodeString(part.ETag)
		if err != nil || len(sum) != md5.Size {
			return ""
		}
		all.Write(sum)
	}
	return fmt.Sprintf("%x-%d", all.Sum(nil), len(parts))
}

// sums returns a sum of a part, by which the service sees that it came whole: over TLS its MD5 in Base64, which buckets with Object Lock
// ask for, else its SHA-256 in hex, which is signed. The client would sign pieces of a part instead, which not all servers read.
func (b *Bucket) sums(body io.ReaderAt, offset, length int64) (md5Base64, sha256Hex string, err error) {
	var sum hash.Hash = sha256.New()
	if b.secure {
		sum = md5.New()
	}
	n, err := io.Copy(sum, io.NewSectionReader(body, offset, length))
	if err == nil && n != length {
		err = io.ErrUnexpectedEOF
	}
	if b.secure {
		return base64.StdEncoding.EncodeToString(sum.Sum(nil)), "", err
	}
	return "", hex.EncodeToString(sum.Sum(nil)), err
}

// Delete implements [blob.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return blob.IgnoreAbsent(explain(b.core.RemoveObject(ctx, b.name, escape(name), minio.RemoveObjectOptions{})))
}

// List implements [blob.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for object := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: escape(prefix), Recursive: true, MaxKeys: pageSize}) {
			err := explain(object.Err)
			if !yield(infoOf(names.Unescape(object.Key), object), err) || err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil { // of which the client says nothing if it ends between two pages
			yield(blob.Info{}, err)
		}
	}
}

// Sweep implements [blob.Sweeper].
func (b *Bucket) Sweep(ctx context.Context, prefix string, before time.Time) error {
	var failed []error
	for upload := range b.core.ListIncompleteUploads(ctx, b.name, escape(prefix), true) {
		err := upload.Err
		if err == nil && upload.Initiated.Before(before) {
			err = b.core.AbortMultipartUpload(ctx, b.name, upload.Key, upload.UploadID)
		}
		failed = append(failed, blob.IgnoreAbsent(explain(err)))
	}
	return errors.Join(failed...)
}

// SignedURL implements [blob.Bucket].
func (b *Bucket) SignedURL(ctx context.Context, name string, life time.Duration) (string, error) {
	signed, err := b.core.PresignedGetObject(ctx, b.name, escape(name), life, nil)
	if err != nil {
		return "", explain(err)
	}
	return signed.String(), nil
}

// SignedPut implements [blob.Bucket]. An ETag is mostly an MD5, of which there may be two: that nothing can be put twice is what holds.
func (b *Bucket) SignedPut(ctx context.Context, name string, size int64, life time.Duration) (blob.SignedRequest, error) {
	header := http.Header{"If-None-Match": {"*"}, "Content-Length": {strconv.FormatInt(size, 10)}}
	signed, err := b.core.PresignHeader(ctx, http.MethodPut, b.name, escape(name), life, nil, header)
	if err != nil {
		return blob.SignedRequest{}, explain(err)
	}
	return blob.SignedRequest{URL: signed.String(), Header: header}, nil
}

// Copy implements [blob.Bucket].
func (b *Bucket) Copy(ctx context.Context, from, etag, name string, o blob.PutOptions) (blob.Info, error) {
	object, err := b.core.CopyObject(ctx, b.name, escape(from), b.name, escape(name), map[string]string{
		"X-Amz-Copy-Source-If-Match": `"` + etag + `"`, "X-Amz-Metadata-Directive": "REPLACE", "Content-Type": o.ContentType, "Content-Disposition": o.Disposition,
	}, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	if err == nil && object.ETag == "" { // what went wrong while it copied comes behind the status of a success
		err = errors.New("the service does not say what it has copied")
	}
	if err != nil {
		return blob.Info{}, explain(err)
	}
	return infoOf(name, object), nil
}

// Close implements [blob.Bucket].
func (b *Bucket) Close() error {
	b.http.CloseIdleConnections()
	return nil
}
