package cli

import (
	"fmt"
	"io"
	"log/slog"
)

// Logger returns a logger that writes to w in a format, which is text or json.
func Logger(w io.Writer, level slog.Level, format string) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, &UsageError{Err: fmt.Errorf("--log-format is text or json, not %q", format)}
}
