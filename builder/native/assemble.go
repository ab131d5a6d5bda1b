package native

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"go/version"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"k6x/builder/internal/gobuild"
	"k6x/internal/cage"
)

// assembleTime bounds an attempt to do without go build: many times what it takes.
const assembleTime = 2 * time.Minute

// assemble makes the binary of ws out of packages that were compiled before, if all of
// them were, and reports whether it did. It explains nothing: what it cannot make is left to
// go build, for which the caller has to reset ws.
func (e *Engine) assemble(ctx context.Context, ws *workspace) bool {
	if !e.assembles(ws) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, assembleTime)
	defer cancel()
	err := e.assembleFrom(ctx, ws, e.kits.of(ws.recipe))
	if err != nil {
		e.log.Debug("left to go build", "path", ws.recipe.Path(), "reason", err)
	}
	return err == nil
}

func (e *Engine) assembleFrom(ctx context.Context, ws *workspace, k *kit) error {
	if !k.isProven() {
		return errUnknown
	}
	p, known, err := e.planOf(ctx, ws, k)
	if err != nil {
		return err
	}
	if p.units != nil && !e.keepPlace(ws) {
		return fmt.Errorf("too much is to be compared already: %w", errUnknown)
	}
	if err := e.compileUnits(ctx, ws, p); err != nil {
		return err
	}
	ws.progress.linking()
	if err := e.link(ctx, ws, p, gobuild.OutputName); err != nil {
		return err
	}
	ws.unconfirmed, ws.suspects = len(p.units) > 0, p.suspects
	lines := sums{}
	lines.learn(known)
	lines.learn(p.goSum)
	return ws.write(map[string]string{"go.mod": p.goMod, "go.sum": lines.known()})
}

// maxPlans bounds how often a plan is made anew, as modules had to be checked for it.
const maxPlans = 4

// planOf returns a plan, and the go.sum lines of the kit.
func (e *Engine) planOf(ctx context.Context, ws *workspace, k *kit) (p *plan, known string, err error) {
	var c checked
	for try := 0; ; try++ {
		k.mu.Lock()
		p, err = e.plan(k, ws.recipe, c)
		known = k.GoSum
		k.mu.Unlock()
		if err == nil || !errors.Is(err, errUnknown) || !e.cfg.ConfirmLater || try == maxPlans {
			return p, known, err
		}
		missing, ok := errors.AsType[unchecked](err)
		switch {
		case c == nil: // without compiling anything it cannot be done
			c = checked{}
		case !ok:
			return nil, "", err
		default:
			if err := e.check(ctx, ws, c, missing); err != nil {
				return nil, "", err
			}
		}
	}
}

// The go command frames build info with these, so that it is found in a binary.
const (
	infoStart = "3077af0c9274080241e1c107e6d618e6"
	infoEnd   = "f932433186182072008242104116d8f2"
)

// link compiles the main package and links it, as go build with our flags would, into
// the file output of ws.
func (e *Engine) link(ctx context.Context, ws *workspace, p *plan, output string) error {
	start, err := hex.DecodeString(infoStart)
	if err != nil {
		return err
	}
	end, err := hex.DecodeString(infoEnd)
	if err != nil {
		return err
	}
	modinfo := fmt.Sprintf("modinfo %q\n", string(start)+p.info+string(end))
	for name, text := range map[string]string{
		"importcfg":      "# import config\n" + importcfg(p.direct),
		"importcfg.link": importcfg(p.files) + modinfo,
	} {
		if err := os.WriteFile(filepath.Join(ws.temp(), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	compile := []string{
		"-o", filepath.Join(ws.temp(), "main.a"), "-trimpath", ws.dir + "=>k6;" + ws.temp() + "=>", "-p", "main",
		"-lang=" + version.Lang("go"+p.goVersion), "-complete", "-goversion", ws.recipe.Toolchain, "-nolocalimports",
		"-importcfg", filepath.Join(ws.temp(), "importcfg"), "-pack", "./main.go",
	}
	mode := "exe"
	if slices.Contains(positionIndependent, ws.recipe.Platform.OS) {
		mode = "pie"
	}
	if shared(ws.recipe.Platform.OS) {
		compile = slices.Insert(compile, 0, "-shared")
	}
	link := []string{"-o", output, "-importcfg", filepath.Join(ws.temp(), "importcfg.link")}
	if p.godebug != "" {
		link = append(link, "-X=runtime.godebugDefault="+p.godebug)
	}
	link = append(link, "-buildmode="+mode, "-s", "-w", "-buildid=", filepath.Join(ws.temp(), "main.a"))
	if err := e.runTool(ctx, ws, "compile", compile, nil); err != nil {
		return err
	}
	return e.runTool(ctx, ws, "link", link, []string{"GOROOT="}) // as go build -trimpath has it
}

// positionIndependent are the systems whose programs are so by default.
var positionIndependent = []string{"darwin", "windows", "ios", "android"}

// shared reports whether code for a system is compiled so that it may be loaded anywhere.
func shared(os string) bool { return slices.Contains(positionIndependent, os) && os != "windows" }

func importcfg(files map[string]string) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "packagefile %s=%s\n", path, files[path])
	}
	return b.String()
}

// toolPath returns where the toolchain keeps one of its programs.
func (e *Engine) toolPath(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(e.cfg.Tool.Root, "pkg", "tool", runtime.GOOS+"_"+runtime.GOARCH, name)
}

// runTool runs a program of the toolchain in ws.
func (e *Engine) runTool(ctx context.Context, ws *workspace, name string, args, env []string) error {
	cmd := e.program(ctx, ws, e.toolPath(name), args...)
	cmd.Env = append(cmd.Env, env...)
	return quietly(cmd, func() error { return e.cfg.Cage.Run(cmd, e.compiling(ws)) })
}

// quietly runs a command whose failure only the log is told.
func quietly(cmd *exec.Cmd, run func() error) error {
	out := &cage.Output{Max: 64 << 10}
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	cmd.Stderr = out
	if err := run(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, tailOf(out.String()))
	}
	return nil
}
