// Package cli has the parts that the command lines of k6x and k6build have in common.
//
//	run.go     a command line, its variables, errors and exit codes
//	values.go  values of flags and the files that they name, versions, loggers
//	serve.go   a server until a signal comes, with connections within the limit of open files
package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"k6x"
	"k6x/internal/disk"
)

// ByteSize is a flag for a number of bytes, as 20GiB, 500MB or 1048576.
type ByteSize int64

func (b *ByteSize) String() string {
	if *b == 0 {
		return "0"
	}
	return humanize.IBytes(uint64(*b))
}

func (b *ByteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a number of bytes such as 20GiB", s)
	}
	*b = ByteSize(n)
	return nil
}

func (b *ByteSize) Type() string { return "bytes" }

// Percent is a flag for a share, as 5% or 5.
type Percent float64

func (p *Percent) String() string { return strconv.FormatFloat(float64(*p), 'g', -1, 64) }

func (p *Percent) Set(s string) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("%q is not a share from 0%% to 100%%", s)
	}
	*p = Percent(n)
	return nil
}

func (p *Percent) Type() string { return "percent" }

// ParseURL reads the http or https URL of a flag. The usage error says that it is not the wanted one, as in "the URL of
// a store, such as http://localhost:9000".
func ParseURL(flag, text, wanted string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &UsageError{Err: fmt.Errorf("--%s %q is not %s", flag, text, wanted)}
	}
	return u, nil
}

// FileURL returns the URL of a file with a full name.
func FileURL(name string) string {
	name = filepath.ToSlash(name)
	if !strings.HasPrefix(name, "/") { // a drive
		name = "/" + name
	}
	return (&url.URL{Scheme: "file", Path: name}).String()
}

// Token returns the token for a service: that in file or, if none is named, that of a variable; "" if there is
// none. There is no flag for a token: a list of processes shows flags.
func Token(variable, file string) (string, error) {
	token := os.Getenv(variable)
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", k6x.Errorf(k6x.Invalid, "the token cannot be read: %w", err)
		}
		token = string(data)
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", k6x.Errorf(k6x.Invalid, "the token has spaces or other characters that a token cannot have")
	}
	return token, nil
}

// Logger returns a logger that writes to w in a format, which is text or json.
func Logger(w io.Writer, level slog.Level, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return TextLogger(w, level), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: inSeconds})), nil
	}
	return nil, &UsageError{Err: fmt.Errorf("--log-format is text or json, not %q", format)}
}

// inSeconds writes a duration in seconds, which its name says: JSON has no units.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key+"_s", a.Value.Duration().Seconds())
	}
	return a
}

// TextLogger returns a logger that writes lines for people to w.
func TextLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// Version returns the version of this program, "(devel)" if it was built from a working copy.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// Output is a file that is being written: it comes to its name as a whole, or not at all.
type Output struct {
	*disk.Pending
	name string
}

// CreateOutput creates a file beside name, which a flag has given.
func CreateOutput(name, flag string) (*Output, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, k6x.Errorf(k6x.Invalid, "%s is a directory", name).WithHint("Name another place with --%s.", flag)
	}
	file, err := disk.FS{}.Begin(disk.Atomic{Name: name, Mode: 0o755, Sync: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, k6x.Errorf(k6x.Invalid, "there is no directory %s to write to", filepath.Dir(name))
	}
	o := &Output{file, name}
	if err != nil {
		return nil, o.NotWritten(err)
	}
	return o, nil
}

// Write is that of the file, with an error in words for the user.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.Pending.Write(p)
	if err != nil {
		err = o.NotWritten(err)
	}
	return n, err
}

// Commit gives the file its name.
func (o *Output) Commit() error {
	if err := o.Pending.Commit(); err != nil {
		return o.NotWritten(err)
	}
	return nil
}

// NotWritten gives an error of writing words for the user.
func (o *Output) NotWritten(err error) error {
	return k6x.Errorf(k6x.Internal, "%s cannot be written: %w", o.name, err)
}
