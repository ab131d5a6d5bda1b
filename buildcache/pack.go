package buildcache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A pack is a zstd stream of bodies one after the other; the index knows where each ends. Many small
// bodies that are needed together become one object, which is fetched as a whole.

const (
	packSize    = 4 << 20  // bytes from which a pack is full, compressed
	packRaw     = 48 << 20 // uncompressed
	packOutputs = 1000
	packWindow  = 4 << 20 // bytes that a reader has to keep
)

// packer makes packs of bodies, one after the other.
type packer struct {
	buf  bytes.Buffer
	enc  *zstd.Encoder
	raw  int64
	done []sized
}

func newPacker() (*packer, error) {
	p := new(packer)
	enc, err := zstd.NewWriter(&p.buf, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(packWindow))
	p.enc = enc
	return p, err
}

// add appends a body. After an error the pack is of no use, see drop.
func (p *packer) add(o sized, body io.Reader) error {
	if err := sameBytes(o.Output, o.Size, body, p.enc); err != nil {
		return err
	}
	p.raw += o.Size
	p.done = append(p.done, o)
	return nil
}

// full reports whether it is time to take.
func (p *packer) full() bool {
	return p.buf.Len() >= packSize || p.raw >= packRaw || len(p.done) >= packOutputs
}

// take returns the pack, and begins another one.
func (p *packer) take() (packed, []byte, error) {
	if err := p.enc.Close(); err != nil {
		return packed{}, nil, err
	}
	body := bytes.Clone(p.buf.Bytes())
	made := packed{ID: sha256.Sum256(body), Size: int64(len(body)), Outputs: p.done}
	p.drop()
	return made, body, nil
}

// drop begins another pack and returns the bodies that were in this one.
func (p *packer) drop() []sized {
	dropped := p.done
	p.buf.Reset()
	p.enc.Reset(&p.buf)
	p.raw, p.done = 0, nil
	return dropped
}

// unpack writes the bodies of a pack that are not there yet.
func (l *local) unpack(outputs []sized, pack io.Reader) error {
	dec, err := zstd.NewReader(pack, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(2*packWindow))
	if err != nil {
		return err
	}
	defer dec.Close()
	for _, o := range outputs {
		body := &source{r: io.LimitReader(dec, o.Size)}
		if l.has(o.Output, o.Size) {
			_, err = io.Copy(io.Discard, body)
		} else {
			err = l.receive(o.Output, o.Size, body)
		}
		if err == nil && body.read != o.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	_, err = dec.Read(make([]byte, 1))
	if err == io.EOF {
		return nil
	}
	return errors.Join(err, errors.New("a pack with more than the index says"))
}

// complete reports whether all bodies of a pack are there.
func (l *local) complete(p packed) bool {
	for _, o := range p.Outputs {
		if !l.has(o.Output, o.Size) {
			return false
		}
	}
	return true
}

// source notes how much was read of r, and its error, to tell it from that of the writer.
type source struct {
	r    io.Reader
	read int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.read += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
