package resolver

import (
	_ "embed"
	"log/slog"
)

// Embedded is the location of the registry that is part of this program. It knows k6
// and Grafana's extensions, without versions.
const Embedded = "embedded"

//go:embed embedded.json
var embeddedRegistry []byte

// embeddedSource returns the embedded registry: the whole of it, or k6 only.
func embeddedSource(whole bool, log *slog.Logger) (*source, error) {
	doc, err := parseRegistry(embeddedRegistry, log)
	if err != nil {
		return nil, err
	}
	if !whole {
		kept := doc.entries[:0]
		for _, e := range doc.entries {
			if e.isK6() {
				kept = append(kept, e)
			}
		}
		doc = newDocument(kept)
	}
	return &source{location: Embedded, doc: doc}, nil
}
