package cage

import (
	"os/exec"
	"testing"
)

// What the cage costs a program that ends at once: a build without go build runs two or three.
func BenchmarkRun(b *testing.B) {
	confined, err := New(Config{Limits: Limits{Memory: 4 << 30, OpenFiles: 1 << 14}})
	if err != nil {
		b.Fatal(err)
	}
	policy := Policy{Exec: []string{"/usr/local/bin"}, Read: []string{"/usr/share"}, Write: []string{b.TempDir()}}
	for name, c := range map[string]*Cage{"unconfined": nil, "confined": confined} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := c.Run(exec.CommandContext(b.Context(), "/bin/true"), policy); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
