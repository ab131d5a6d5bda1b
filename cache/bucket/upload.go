package bucket

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"

	"k6x"
	"k6x/cache/internal/disk"
)

const (
	partSize = 8 << 20 // bytes of a part of an upload, of which a few are in memory at once
	parts    = 2       // how many go at once

	abortTime = 10 * time.Second // for taking back a broken upload
)

// upload writes the bytes of an artifact and makes sure that they are in the bucket. If
// it fails, the object is not there, or its bytes are worth nothing.
func (s *Store) upload(ctx context.Context, name string, artifact k6x.Artifact, from io.Reader) error {
	sums := newSums()
	err := s.send(ctx, name, artifact, io.TeeReader(from, sums))
	if err == nil {
		err = s.verify(ctx, name, artifact, sums)
	}
	return explain(ctx, err)
}

// send writes an object. It is there as a whole or not at all.
func (s *Store) send(ctx context.Context, name string, artifact k6x.Artifact, from io.Reader) (err error) {
	limited, guard, cancel := withGuard(ctx, s.cfg.Stall)
	defer cancel()
	defer func() {
		if err != nil && limited.Err() != nil {
			err = errors.Join(context.Cause(limited), err)
		}
	}()
	w, err := s.bucket.NewWriter(limited, name, &blob.WriterOptions{
		ContentType:        "application/octet-stream",
		ContentDisposition: `attachment; filename="` + artifact.Recipe.Platform.Executable() + `"`,
		BufferSize:         partSize,
		MaxConcurrency:     parts,
		BeforeWrite:        s.tuneS3,
	})
	if err != nil {
		return err
	}
	digest := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(movedWriter{w, guard}, digest), io.LimitReader(from, artifact.Size+1), make([]byte, 256<<10))
	if err == nil && (n != artifact.Size || hex.EncodeToString(digest.Sum(nil)) != artifact.Digest) {
		err = k6x.Errorf(k6x.Internal, "the binary could not be stored").WithCause(errors.New("its bytes are not those of its record"))
	}
	if err != nil {
		cancel() // so that Close takes back what was sent
	}
	return errors.Join(err, w.Close())
}

// tuneS3 has the client of S3 take back an upload in parts also when its context has ended,
// which it does not by itself, and begin with parts early, so that less is in memory.
func (s *Store) tuneS3(as func(any) bool) error {
	var client *s3.Client
	var manager *transfermanager.Client
	if !as(&manager) || !s.bucket.As(&client) {
		return nil
	}
	checksums := client.Options().RequestChecksumCalculation
	*manager = *transfermanager.New(client, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = partSize, partSize, parts
		o.FailTimeout = abortTime
		o.RequestChecksumCalculation = checksums
	})
	return nil
}

// movedWriter tells the guard of each write.
type movedWriter struct {
	to    io.Writer
	guard *guard
}

func (w movedWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.guard.moved()
	return n, err
}

// verify compares what is in the bucket with what was sent. If the bucket's own checksum
// proves that it is the same, nothing is read back.
func (s *Store) verify(ctx context.Context, name string, artifact k6x.Artifact, sums *sums) error {
	attrs, err := s.stat(ctx, name)
	if err != nil {
		return err
	}
	if attrs.Size != artifact.Size {
		return fmt.Errorf("%w: %s has %d bytes, want %d", errDamaged, name, attrs.Size, artifact.Size)
	}
	if sums.prove(attrs) {
		return nil
	}
	body := s.newBody(ctx, name, artifact.Size)
	defer body.close()
	digest, _, err := disk.Digest(body)
	if err == nil && digest != artifact.Digest {
		err = fmt.Errorf("%w: %s has digest %s", errDamaged, name, digest)
	}
	return err
}

// sums are the checksums that providers give: the MD5 of all bytes, and the ETag that S3 makes
// of an upload in parts, which is the MD5 of the MD5s of the parts.
type sums struct {
	whole, part, all hash.Hash
	inPart           int
	parts            int
}

func newSums() *sums { return &sums{whole: md5.New(), part: md5.New(), all: md5.New()} }

// Write implements io.Writer.
func (s *sums) Write(p []byte) (int, error) {
	s.whole.Write(p)
	for rest := p; len(rest) > 0; {
		n := min(len(rest), partSize-s.inPart)
		s.part.Write(rest[:n])
		s.inPart += n
		rest = rest[n:]
		if s.inPart == partSize {
			s.endPart()
		}
	}
	return len(p), nil
}

func (s *sums) endPart() {
	s.all.Write(s.part.Sum(nil))
	s.part.Reset()
	s.inPart = 0
	s.parts++
}

// prove reports whether what the bucket says of an object proves that it is what was written.
func (s *sums) prove(attrs *blob.Attributes) bool {
	if s.inPart > 0 {
		s.endPart()
	}
	return len(attrs.MD5) > 0 && hex.EncodeToString(attrs.MD5) == hex.EncodeToString(s.whole.Sum(nil)) ||
		strings.Trim(attrs.ETag, `"`) == fmt.Sprintf("%x-%d", s.all.Sum(nil), s.parts)
}
