// Package dial opens the bucket that a URL names.
package dial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/azblob"
	"k6x/cache/blob/dir"
	"k6x/cache/blob/gs"
	"k6x/cache/blob/mem"
	"k6x/cache/blob/s3"
)

// Open opens the bucket of a URL; nothing is sent yet. Each service is given patience for one answer, tries included. With the parameter
// prefix all names begin with it. The words of an error do not have the URL, as there may be a password in it.
func Open(ctx context.Context, u *url.URL, patience time.Duration) (blob.Bucket, error) {
	params := u.Query()
	prefix := strings.Trim(params.Get("prefix"), "/")
	params.Del("prefix")
	b, err := open(ctx, u, params, patience)
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		b = blob.Prefixed(b, prefix+"/")
	}
	return b, nil
}

func open(ctx context.Context, u *url.URL, params url.Values, patience time.Duration) (blob.Bucket, error) {
	switch u.Scheme {
	case "s3":
		return s3.Open(u.Host, params, patience)
	case "gs":
		return gs.Open(ctx, u.Host, params, patience)
	case "azblob":
		return azblob.Open(u.Host, params, patience)
	case "file":
		return openDir(u, params)
	case "mem":
		b := &mem.Bucket{NoMD5: params.Get("nomd5") != ""}
		delete(params, "nomd5")
		return b, only(params)
	}
	return nil, fmt.Errorf("%.20q is none of the kinds of bucket", u.Scheme)
}

// Path returns the directory that a file URL names. The host of the URL means nothing, but that the path is relative if it is a dot.
func Path(u *url.URL) string {
	path := filepath.FromSlash(u.Path)
	if u.Host == "." || os.PathSeparator != '/' {
		path = strings.TrimPrefix(path, string(os.PathSeparator))
	}
	return path
}

func openDir(u *url.URL, params url.Values) (blob.Bucket, error) {
	mode, err := strconv.ParseUint(cmp.Or(params.Get("dir_file_mode"), "0"), 0, 32)
	if err != nil {
		return nil, errors.New("dir_file_mode is no mode of a file")
	}
	for _, param := range []string{"create_dir", "no_tmp_dir", "metadata", "dir_file_mode"} { // the others change nothing
		delete(params, param)
	}
	if params.Has("base_url") || params.Has("secret_key_path") {
		return nil, errors.New("base_url and secret_key_path: a directory has no signed URLs")
	}
	if err := only(params); err != nil {
		return nil, err
	}
	return dir.Open(Path(u), fs.FileMode(mode))
}

// only returns an error if there are parameters.
func only(params url.Values) error {
	for param := range params {
		return fmt.Errorf("unknown query parameter %.40q", param)
	}
	return nil
}
