package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// stdlib is what govulncheck calls the standard library, as if it were a module.
const stdlib = "stdlib"

// finding is a known vulnerability of a package that is imported.
type finding struct {
	id, summary     string
	module, version string
	fixed           string // the version that mends it; "": none
	called          bool   // a vulnerable function is, and not only its package imported; known at the level symbol only
}

// mendable reports whether a newer version does not have it.
func (f finding) mendable() bool { return f.fixed != "" }

// fails reports whether it is to be mended before anything else.
func (f finding) fails() bool { return f.called && f.mendable() }

func (f finding) String() string {
	use, fix := "imported", "and no version mends it"
	if f.called {
		use = "called"
	}
	if f.mendable() {
		fix = "mended by " + f.fixed
	}
	return fmt.Sprintf("%s %s@%s is %s, %s: %s", f.id, f.module, f.version, use, fix, f.summary)
}

// message is what govulncheck prints with -format json, one after the other.
type message struct {
	OSV *struct {
		ID, Summary string
	}
	Finding *struct {
		OSV          string
		FixedVersion string                                                `json:"fixed_version"`
		Trace        []struct{ Module, Version, Package, Function string } // from what is vulnerable to who calls it
	}
}

// read returns the vulnerabilities that govulncheck found in packages that are imported, each once for a module.
func read(r io.Reader) ([]finding, error) {
	summaries := map[string]string{}
	found := map[[2]string]finding{} // by id and module
	for decoder := json.NewDecoder(r); ; {
		var m message
		switch err := decoder.Decode(&m); {
		case errors.Is(err, io.EOF):
			all := make([]finding, 0, len(found))
			for _, f := range found {
				f.summary = summaries[f.id]
				all = append(all, f)
			}
			slices.SortFunc(all, func(a, b finding) int { return strings.Compare(a.id+a.module, b.id+b.module) })
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("what govulncheck printed: %w", err)
		case m.OSV != nil:
			summaries[m.OSV.ID] = m.OSV.Summary
		case m.Finding != nil && len(m.Finding.Trace) > 0 && m.Finding.Trace[0].Package != "":
			at := m.Finding.Trace[0]
			key := [2]string{m.Finding.OSV, at.Module}
			found[key] = finding{
				id: m.Finding.OSV, module: at.Module, version: at.Version, fixed: m.Finding.FixedVersion,
				called: found[key].called || at.Function != "",
			}
		}
	}
}
