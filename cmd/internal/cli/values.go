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
	"github.com/spf13/cobra"

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

// Output is a file that is being written: it comes to its name as a whole, or not at all. What is no regular file, as a device or a
// pipe, stays what it is, and gets the bytes when they are complete.
type Output struct {
	*disk.Pending
	name string
	into *os.File // that gets the bytes; nil: the file itself takes the name
}

// CreateOutput creates a file beside name, which a flag has given. The name - is standard output. A pipe waits for its reader.
func CreateOutput(name, flag string) (*Output, error) {
	o, atomic := &Output{name: name}, disk.Atomic{Name: name, Mode: 0o755, Sync: true}
	info, err := os.Stat(name)
	switch {
	case isStdout(name):
		o.into, err = os.Stdout, nil
	case err == nil && info.IsDir():
		return nil, k6x.Errorf(k6x.Invalid, "%s is a directory", name).WithHint("Name another place with --%s.", flag)
	case err == nil && !info.Mode().IsRegular():
		o.into, err = os.OpenFile(name, os.O_WRONLY, 0)
	default:
		err = nil
	}
	if err != nil {
		return nil, o.NotWritten(err)
	}
	if o.into != nil {
		atomic.Temp = os.TempDir()
	}
	o.Pending, err = disk.FS{}.Begin(atomic)
	switch {
	case err == nil:
		return o, nil
	case o.into != nil:
		o.close()
	case errors.Is(err, fs.ErrNotExist):
		return nil, k6x.Errorf(k6x.Invalid, "there is no directory %s to write to", filepath.Dir(name))
	}
	return nil, o.NotWritten(err)
}

// isStdout reports whether name is that of standard output: - or such as /dev/stdout, which may lead to a file.
func isStdout(name string) bool {
	stdout, err := os.Stdout.Stat()
	info, ofName := os.Stat(name)
	return name == "-" || err == nil && ofName == nil && os.SameFile(info, stdout)
}

// Summary returns where a command says what it has written to the file name: standard output, unless that is the file.
func Summary(cmd *cobra.Command, name string) io.Writer {
	if isStdout(name) {
		return cmd.ErrOrStderr()
	}
	return cmd.OutOrStdout()
}

// Write is that of the file, with an error in words for the user.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.Pending.Write(p)
	if err != nil {
		err = o.NotWritten(err)
	}
	return n, err
}

// Commit gives the file its name, or its bytes to what has the name.
func (o *Output) Commit() error {
	commit := o.Pending.Commit
	if o.into != nil {
		commit = o.pour
	}
	if err := commit(); err != nil {
		return o.NotWritten(err)
	}
	return nil
}

func (o *Output) pour() error {
	_, err := o.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(o.into, o.File)
	}
	return errors.Join(err, o.close())
}

// Discard removes what is temporary.
func (o *Output) Discard() {
	o.Pending.Discard()
	_ = o.close() // for the second time after Commit
}

// close closes what gets the bytes, but for standard output, which is the whole process's.
func (o *Output) close() error {
	if o.into == nil || o.into == os.Stdout {
		return nil
	}
	return o.into.Close()
}

// NotWritten gives an error of writing words for the user.
func (o *Output) NotWritten(err error) error {
	return k6x.Errorf(k6x.Internal, "%s cannot be written: %w", o.name, err)
}
