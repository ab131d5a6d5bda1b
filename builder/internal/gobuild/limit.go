package gobuild

import (
	"time"

	"github.com/dustin/go-humanize"

	"k6x"
	"k6x/internal/cage"
)

// TooMuch returns the error for a go command that was stopped at a limit and printed text, which is clean.
func (b *Blame) TooMuch(exceeded *cage.Exceeded, text string) error {
	err := k6x.Errorf(k6x.BuildFailed, "%s needs more than %s", b.list(), amount(exceeded)).
		WithHint("Leave out the extension that needs it, or ask the operator for a higher limit.").WithCause(exceeded)
	err.Limit = k6x.Limit{Name: exceeded.Name, Value: exceeded.Value}
	return WithOutput(err, text)
}

// amount returns the words for a limit.
func amount(e *cage.Exceeded) string {
	bytes := humanize.IBytes(uint64(e.Value))
	switch e.Name {
	case cage.Memory:
		return bytes + " of memory to compile"
	case cage.CPU:
		return (time.Duration(e.Value) * time.Second).String() + " of processor time to compile"
	case cage.FileSize:
		return "a file of " + bytes + " to compile"
	case cage.Printed:
		return bytes + " for what the compiler says of it"
	}
	return "what one build may take here"
}
