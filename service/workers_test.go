package service

import (
	"testing"

	"k6x/builder"
)

// Why a worker is quarantined names modules, which not everybody may see.
func TestAWorkerWithoutNamesOfModules(t *testing.T) {
	for state, want := range map[string]string{"quarantined": "the log of the service says what", "drained": "it sent 3 bytes for /linux/amd64/k6/x/secret"} {
		w := builder.Worker{State: state, Build: "1", Path: "/linux/amd64/k6/x/secret", Reason: "it sent 3 bytes for /linux/amd64/k6/x/secret"}
		if hideModules(&w); w.Reason != want || w.Build != "" || w.Path != "" {
			t.Errorf("%+v", w)
		}
	}
}
