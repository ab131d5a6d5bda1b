package pages

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// asset is a file that pages refer to.
type asset struct {
	kind         string // media type
	plain, small []byte // as it is, and compressed
}

// types are those of the files, whatever this machine says.
var types = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func (p *Pages) loadAssets() {
	p.assets = make(map[string]asset)
	sum := sha256.New()
	entries, _ := files.ReadDir("assets") // embedded, sorted
	for _, entry := range entries {
		text, _ := files.ReadFile("assets/" + entry.Name())
		fmt.Fprintf(sum, "%s %d\n%s", entry.Name(), len(text), text)
		var small bytes.Buffer
		z, _ := gzip.NewWriterLevel(&small, gzip.BestCompression)
		_, _ = z.Write(text) // into memory
		_ = z.Close()
		p.assets[entry.Name()] = asset{types[path.Ext(entry.Name())], text, small.Bytes()}
	}
	p.digest = hex.EncodeToString(sum.Sum(nil)[:8])
}

// Asset answers a request for /assets/{digest}/{name}. It returns false, and answers nothing, if there is none. The digest is that of all assets,
// so that modules find each other by their names, and an answer may be kept for ever. To another digest, which a service of another version
// put into its page, the answer is what there is, and is not kept.
func (p *Pages) Asset(w http.ResponseWriter, r *http.Request, digest, name string) bool {
	a, ok := p.assets[name]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-store")
	if digest == p.digest {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept-Encoding")
	body := a.plain
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		body = a.small
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone needs no answer
	}
	return true
}

func acceptsGzip(accept []string) bool {
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		coding, params, err := mime.ParseMediaType(item)
		if err == nil && coding == "gzip" {
			q, err := strconv.ParseFloat(params["q"], 64)
			return err != nil || q > 0
		}
	}
	return false
}
