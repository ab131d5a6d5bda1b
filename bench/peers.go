package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// peer is a program of others that builds k6: in its own way, with a build cache of its own.
type peer struct {
	name, program string
	args          func(c combination, output string) []string
	env           []string
}

// peers returns those that are on PATH. They have built all extensions once; whoever cannot is left out.
func (w *world) peers(ctx context.Context, b *building) ([]*peer, error) {
	own, err := w.temp("peers")
	if err != nil {
		return nil, err
	}
	catalog := filepath.Join(own, "catalog.json")
	if err := b.writeCatalog(catalog); err != nil {
		return nil, err
	}
	var all []*peer
	for _, p := range []*peer{
		{name: "xk6", args: b.xk6},
		{name: "k6build", args: func(c combination, output string) []string {
			return append(b.k6build(c, output), "-c", catalog, "-f", filepath.Join(own, "store"))
		}},
	} {
		if p.program, err = exec.LookPath(p.name); err != nil || isOurs(p.program) {
			continue
		}
		if p.program, err = filepath.Abs(p.program); err != nil {
			return nil, err
		}
		p.env = slices.DeleteFunc(slices.Clone(b.env), func(s string) bool { return strings.HasPrefix(s, "XK6_") })
		p.env = append(p.env, goCaches{filepath.Join(own, "modcache"), filepath.Join(own, p.name)}.env()...)
		if _, err := p.build(ctx, w, b.combination(b.combinations())); err != nil {
			fmt.Fprintf(w.log, "%s is left out: %v\n", p.name, err)
			continue
		}
		all = append(all, p)
	}
	return all, nil
}

// isOurs reports whether a program is the k6build that is made here.
func isOurs(program string) bool {
	info, err := buildinfo.ReadFile(program)
	return err == nil && info.Path == "k6x/cmd/k6build"
}

func (b *building) xk6(c combination, output string) []string {
	args := []string{"build", b.k6, "--output", output}
	for _, e := range c.extensions {
		args = append(args, "--with", e.module+"@"+e.version)
	}
	return args
}

func (b *building) k6build(c combination, output string) []string {
	args := []string{"local", "-k", b.k6, "-p", host().String(), "-g", "-o", output}
	for _, e := range c.extensions {
		args = append(args, "-d", e.name+":"+e.version)
	}
	return args
}

// writeCatalog writes the catalog from which k6build knows modules and versions.
func (b *building) writeCatalog(name string) error {
	type entry struct {
		Module   string   `json:"module"`
		Versions []string `json:"versions"`
	}
	catalog := map[string]entry{"k6": {"go.k6.io/k6", []string{b.k6}}}
	for _, e := range b.extensions {
		catalog[e.name] = entry{e.module, []string{e.version}}
	}
	data, err := json.Marshal(catalog)
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// build returns the seconds that a peer takes for a combination.
func (p *peer) build(ctx context.Context, w *world, c combination) (float64, error) {
	dir, err := w.temp(p.name)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	output := filepath.Join(dir, "k6")
	cmd := exec.CommandContext(ctx, p.program, p.args(c, output)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(slices.Clone(p.env), "TMPDIR="+dir), time.Second
	var said []byte
	seconds, err := took(func() (err error) { said, err = cmd.CombinedOutput(); return err })
	if _, missing := os.Stat(output); cmp.Or(err, missing) != nil {
		return 0, fmt.Errorf("%s: %w\n%s", p.name, cmp.Or(err, missing), said[max(0, len(said)-2000):])
	}
	return seconds, nil
}
