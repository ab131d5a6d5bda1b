package fast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
)

// linkTime bounds an attempt to do without go build: many times what it takes.
const linkTime = 2 * time.Minute

// tryLink makes the binary out of packages that were compiled before, if all of them were, and reads it. Its error explains
// nothing: what it cannot make is left to go build, for which the caller has to reset the workspace.
func (e *Engine) tryLink(ctx context.Context, b *build) (made k6x.Build, err error) {
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	exit, err := e.linkBy(ctx, b, e.indexes.of(b.recipe))
	if err != nil {
		e.log.Debug("left to go build", "path", b.recipe.Path(), "reason", err)
		return k6x.Build{}, err
	}
	made, err = e.inspect(ctx, b, true)
	if failed := exit(); failed != nil {
		e.log.Debug("left to go build", "path", b.recipe.Path(), "reason", failed)
		return k6x.Build{}, failed
	}
	if err != nil {
		e.log.Warn("an assembled binary is left to go build", "path", b.recipe.Path(), "error", err)
	}
	return made, err
}

// linkBy links the binary by an index. Exit is that of [native.Workspace.Link].
func (e *Engine) linkBy(ctx context.Context, b *build, x *index) (exit func() error, err error) {
	p, err := e.settlePlan(ctx, b, x)
	if err != nil {
		return nil, err
	}
	if err := e.gather(ctx, b, p); err != nil {
		return nil, err
	}
	if p.compiles != nil && !e.reserve(b) {
		return nil, fmt.Errorf("too much is to be compared already: %w", errUnknown)
	}
	if err := compileMissing(ctx, b, p); err != nil {
		return nil, err
	}
	b.unconfirmed, b.suspects, b.shared = len(p.compiles) > 0, p.suspects, p.shared
	if p.shared {
		b.ws.Vouch(p.goMods)
	}
	if err := b.ws.Write(map[string]string{"go.mod": p.goMod, "go.sum": p.goSum}); err != nil {
		return nil, err
	}
	b.ws.Linking()
	args, err := linking(ctx, b, p, gobuild.OutputName)
	if err != nil {
		return nil, err
	}
	return b.ws.Link(ctx, args, linkEnv)
}

// maxPlans bounds how often a plan is made anew, as modules had to be checked for it.
const maxPlans = 5

// settlePlan returns a plan, for which the shared build cache is asked what the index does not know, and modules are checked if packages of
// them may be compiled.
func (e *Engine) settlePlan(ctx context.Context, b *build, x *index) (*plan, error) {
	var c checked
	asked := false
	for try := 0; ; try++ {
		refuted, err := e.indexes.readRefuted()
		if err != nil {
			return nil, err
		}
		p, err := e.planProven(x, b.recipe, refuted, c)
		if err == nil || !errors.Is(err, errUnknown) || try == maxPlans {
			return p, err
		}
		if !asked && !refuted.has(x.name()) {
			asked = true
			if e.adopt(ctx, b, x) {
				continue
			}
		}
		if e.lifetime != builder.Resident {
			return nil, err
		}
		missing, ok := errors.AsType[unchecked](err)
		switch {
		case c == nil: // without compiling anything it cannot be done
			c = checked{}
		case !ok:
			return nil, err
		default:
			if err := check(ctx, b, c, missing); err != nil {
				return nil, err
			}
		}
	}
}

// planProven is plan by an index that is proven.
func (e *Engine) planProven(x *index, recipe k6x.Recipe, refuted refuted, c checked) (*plan, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.Proven {
		return nil, errUnknown
	}
	return e.plan(x, recipe, refuted, c)
}

// The go command frames build info with these, so that it is found in a binary.
const (
	infoStart = "\x30\x77\xaf\x0c\x92\x74\x08\x02\x41\xe1\xc1\x07\xe6\xd6\x18\xe6"
	infoEnd   = "\xf9\x32\x43\x31\x86\x18\x20\x72\x00\x82\x42\x10\x41\x16\xd8\xf2"
)

// linkEnv is as go build -trimpath has it.
var linkEnv = []string{"GOROOT="}

// linking compiles the main package, and returns the arguments of the linker that go build with our flags would link it with, into
// the file output of the workspace.
func linking(ctx context.Context, b *build, p *plan, output string) ([]string, error) {
	direct := make(map[string]string)
	for _, path := range p.main {
		direct[path] = p.files[path]
	}
	main, err := compile(ctx, b, "main.a", "main", b.ws.Dir()+"=>k6", p.goVersion, direct, "./main.go")
	if err != nil {
		return nil, err
	}
	cfg := main + ".importcfg.link"
	if err := os.WriteFile(cfg, fmt.Appendf(nil, "%smodinfo %q\n", importcfg(p.files), infoStart+p.info+infoEnd), 0o644); err != nil {
		return nil, err
	}
	mode := "exe"
	if slices.Contains(positionIndependent, b.recipe.Platform.OS) {
		mode = "pie"
	}
	link := []string{"-o", output, "-importcfg", cfg}
	if p.godebug != "" {
		link = append(link, "-X=runtime.godebugDefault="+p.godebug)
	}
	return append(link, "-buildmode="+mode, "-s", "-w", "-buildid=", main), nil
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
