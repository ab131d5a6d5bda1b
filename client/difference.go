package client

import (
	"encoding/hex"
	"errors"
	"io"
	"net/http"

	"k6x"
	"k6x/internal/difference"
	"k6x/internal/disk"
)

// offer adds to the header of a request for the binary of a pinned list that the difference from one which the client has will do.
func (d *download) offer(header http.Header, platform k6x.Platform, pinned k6x.List) http.Header {
	d.differ = ""
	if d.client.Nearest == nil || d.whole || header.Get("Range") != "" {
		return header
	}
	if d.differ, d.open = d.client.Nearest(platform, pinned); d.differ == "" {
		return header
	}
	header = header.Clone()
	header.Set("Accept-Encoding", difference.Coding)
	header.Set(difference.Header, difference.Name(d.differ))
	return header
}

// isDifference reports whether an answer is the difference that was asked for.
func (d *download) isDifference(resp *http.Response) bool {
	return d.differ != "" && resp.StatusCode == http.StatusOK && resp.Header.Get("Content-Encoding") == difference.Coding
}

// receiveDifference decodes a body to the file. If that does not give the binary, for whatever reason, the next try is for the binary as it is.
func (d *download) receiveDifference(resp *http.Response) error {
	err := d.decode(resp.Body)
	if err == nil && hex.EncodeToString(d.hash.Sum(nil)) != d.binary.Digest {
		err = errors.New("it gives another binary")
	}
	if err == nil || d.failed != nil {
		return errors.Join(err, d.failed)
	}
	return d.useless(resp, err)
}

// useless returns an error after which the binary as it is is asked for.
func (d *download) useless(resp *http.Response, err error) error {
	d.whole, d.binary.Digest = true, ""
	return errors.Join(d.restart(), &temporary{err: k6x.Errorf(k6x.Unavailable, "the difference from %s is of no use: %w", resp.Request.URL.Host, err)})
}

func (d *download) decode(body io.Reader) error {
	file, err := d.open()
	if err != nil {
		return err
	}
	defer file.Close()
	dictionary, err := disk.ReadAll(file, difference.MaxSize)
	if err != nil {
		return err
	}
	decoded, err := difference.NewReader(body, dictionary)
	if err != nil {
		return err
	}
	defer decoded.Close()
	most := d.limit
	if d.binary.Size > 0 {
		most = d.binary.Size
	}
	_, err = io.CopyBuffer(d, struct{ io.Reader }{io.LimitReader(decoded, most)}, make([]byte, 256<<10))
	return err
}
