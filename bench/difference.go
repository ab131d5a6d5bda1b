package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/klauspost/compress/zstd"
)

// neighbours measures how a client that has one combination gets another: as the difference, compressed, and as it is, by lines of several speeds, from
// the request until the bytes are decoded and verified.
func neighbours(ctx context.Context, w *world) ([]row, error) {
	b, err := w.building(ctx)
	if err != nil {
		return nil, err
	}
	s, err := w.warm(ctx, b, true)
	if err != nil {
		return nil, err
	}
	had, wanted := b.combination(b.combinations()-1), b.combination(b.combinations())
	const plain = "identity"
	const unlimited = 0
	var has, want []byte
	for c, into := range map[string]*[]byte{had.path: &has, wanted.path: &want} {
		if _, *into, err = line(unlimited).get(ctx, s, c, plain, nil); err != nil {
			return nil, err
		}
	}
	codings := []string{plain, "zstd", "dcz"}
	var rows []row
	for _, coding := range codings[1:] { // until they are made
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			resp, _, err := line(unlimited).get(ctx, s, wanted.path, coding, has)
			if err != nil {
				return rows, err
			}
			if resp.Header.Get("Content-Encoding") == coding {
				rows = append(rows, row{Case: "on the wire", Subject: coding, Unit: "MB", Samples: []float64{float64(resp.ContentLength) / 1e6}, Reference: plain})
				break
			}
			if time.Since(began) > 5*time.Minute {
				return rows, fmt.Errorf("the form %s is not made", coding)
			}
		}
	}
	rows = append(rows, row{Case: "on the wire", Subject: plain, Unit: "MB", Samples: []float64{float64(len(want)) / 1e6}})
	for _, mbit := range pick(w, []int{10, 100, 1000}, []int{1000}) {
		samples := map[string][]float64{}
		err := rounds(w, codings, func(coding string) error {
			began := time.Now()
			_, got, err := line(mbit*1e6/8).get(ctx, s, wanted.path, coding, has)
			if err == nil && sha256.Sum256(got) != sha256.Sum256(want) {
				err = errors.New("other bytes come in " + coding)
			}
			samples[coding] = append(samples[coding], time.Since(began).Seconds())
			return err
		})
		for _, coding := range codings {
			rows = append(rows, row{Case: fmt.Sprintf("%d Mbit/s", mbit), Subject: coding, Unit: "s", Samples: samples[coding], Reference: plain})
		}
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// line is a network of so many bytes a second; 0: as fast as it goes.
type line float64

// get gets a binary and decodes it; has is the one that the client has.
func (l line) get(ctx context.Context, s *server, path, coding string, has []byte) (*http.Response, []byte, error) {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &slowConn{Conn: conn, rate: float64(l), began: time.Now()}, err
	}
	transport := &http.Transport{DialContext: dial, DisableCompression: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept-Encoding", coding)
	if coding == "dcz" {
		sum := sha256.Sum256(has)
		req.Header.Set("Available-Dictionary", ":"+base64.StdEncoding.EncodeToString(sum[:])+":")
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, errors.New("a download answers " + resp.Status)
	}
	var body io.Reader = resp.Body
	if name := resp.Header.Get("Content-Encoding"); name != "" {
		options := []zstd.DOption{zstd.WithDecoderMaxWindow(128 << 20)}
		if name == "dcz" {
			options = append(options, zstd.WithDecoderDictRaw(0, has))
		}
		d, err := zstd.NewReader(body, options...)
		if err != nil {
			return nil, nil, err
		}
		defer d.Close()
		body = d
	}
	var data bytes.Buffer
	_, err = data.ReadFrom(body)
	return resp, data.Bytes(), err
}

// slowConn gives bytes no faster than at a rate.
type slowConn struct {
	net.Conn
	rate  float64 // bytes a second; 0: no limit
	began time.Time
	read  float64
}

func (c *slowConn) Read(p []byte) (int, error) {
	if c.rate > 0 {
		p = p[:min(len(p), max(1, int(c.rate/100)))]
		time.Sleep(time.Until(c.began.Add(time.Duration(c.read / c.rate * float64(time.Second)))))
	}
	n, err := c.Conn.Read(p)
	c.read += float64(n)
	return n, err
}
