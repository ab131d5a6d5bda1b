package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"k6x"
	"k6x/cache/blob"
	"k6x/internal/disk"
)

// upload writes the bytes of an artifact and makes sure that they are in the bucket. If
// it fails, the object is not there, or its bytes are worth nothing.
func (s *Store) upload(ctx context.Context, name string, artifact k6x.Artifact, from io.ReaderAt) error {
	sums, err := compare(artifact, from)
	if err != nil {
		return err
	}
	if s.copyStaged(ctx, name, artifact, sums) {
		return nil
	}
	sent, err := s.send(ctx, name, artifact, from)
	if err == nil && !sums.prove(sent) {
		err = s.readBack(ctx, name, artifact)
	}
	return explain(ctx, err)
}

// compare reads all bytes, compares them with a record before they are sent, and returns their checksums.
func compare(artifact k6x.Artifact, from io.ReaderAt) (sums, error) {
	digest, whole, all := sha256.New(), md5.New(), md5.New()
	buf, read, parts := make([]byte, 256<<10), int64(0), 0
	for ; ; parts++ {
		part := md5.New()
		n, err := io.CopyBuffer(io.MultiWriter(digest, whole, part), onlyReader{io.NewSectionReader(from, read, min(blob.PartSize, artifact.Size+1-read))}, buf)
		if err != nil {
			return sums{}, k6x.Errorf(k6x.Internal, notStored).WithCause(err)
		}
		if n == 0 {
			break
		}
		read += n
		all.Write(part.Sum(nil))
	}
	if read != artifact.Size || hex.EncodeToString(digest.Sum(nil)) != artifact.Digest {
		return sums{}, k6x.Errorf(k6x.Internal, notStored).WithCause(errors.New("its bytes are not those of its record"))
	}
	return sums{whole.Sum(nil), fmt.Sprintf("%x-%d", all.Sum(nil), parts)}, nil
}

// onlyReader hides WriteTo, so that io.CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

// send writes an object. It is there as a whole or not at all.
func (s *Store) send(ctx context.Context, name string, artifact k6x.Artifact, from io.ReaderAt) (sent blob.Info, err error) {
	limited, guard, cancel := withGuard(ctx, s.cfg.Stall)
	defer cancel()
	sent, err = s.bucket.Put(limited, name, movedReader{from, guard}, artifact.Size, putOptions(artifact))
	if err != nil && limited.Err() != nil {
		err = errors.Join(context.Cause(limited), err)
	}
	return sent, err
}

// putOptions returns those of the bytes of an artifact.
func putOptions(artifact k6x.Artifact) blob.PutOptions {
	return blob.PutOptions{ContentType: "application/octet-stream", Disposition: `attachment; filename="` + artifact.Recipe.Platform.Executable() + `"`}
}

// movedReader tells the guard of each read.
type movedReader struct {
	from  io.ReaderAt
	guard *guard
}

func (r movedReader) ReadAt(p []byte, offset int64) (int, error) {
	r.guard.moved()
	return r.from.ReadAt(p, offset)
}

// readBack compares what is in the bucket with what was sent.
func (s *Store) readBack(ctx context.Context, name string, artifact k6x.Artifact) error {
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
	md5  []byte
	etag string
}

// prove reports whether what the bucket says of an object proves that it is what was written.
func (s sums) prove(sent blob.Info) bool { return bytes.Equal(sent.MD5, s.md5) || sent.ETag == s.etag }
