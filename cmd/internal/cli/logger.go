package cli

import (
	"fmt"
	"io"
	"log/slog"
)

// Logger returns a logger that writes to w in a format, which is text or json.
func Logger(w io.Writer, level slog.Level, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return TextLogger(w, level), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
	}
	return nil, &UsageError{Err: fmt.Errorf("--log-format is text or json, not %q", format)}
}

// TextLogger returns a logger that writes lines for people to w.
func TextLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
