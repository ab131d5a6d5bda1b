package gobuild

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// What of the output of a failed build is quoted in the message.
const (
	quoteLines = 20
	quoteBytes = 4 << 10
)

// Explain returns the error for a go command that failed with err and printed text, which
// is clean; killed says that it was killed, and not by us. Used are the requirements of the
// go.mod as it was left; nil if there was a lock.
func (b *Blame) Explain(used []module.Version, text string, err error, killed bool) error {
	// A pin that gave way explains whatever came of it.
	if b.Replaced != nil {
		used = nil
	}
	for _, m := range used {
		for _, pin := range b.graph.Roots {
			if m.Path == pin.Path && m.Version != pin.Version {
				return b.conflict(pin, m.Version)
			}
		}
	}
	shown, withheld := b.withhold(text)
	failure := b.classify(text, shown, killed)
	failure.Err = fmt.Errorf("%w: %s", err, quote(shown))
	if setOutput(failure, shown, withheld); failure.Kind != k6x.BuildFailed {
		failure.Output = ""
	}
	return failure
}

// rule recognizes one sort of failure in the output of the go command. Its error gets
// the groups of the match.
type rule struct {
	pattern *regexp.Regexp
	explain func(b *Blame, match []string) *k6x.Error
}

// machineRules are for failures that are of this machine, whatever was built.
func machineRules() []rule {
	return []rule{
		{regexp.MustCompile(`no space left on device|[Dd]isk quota exceeded|not enough space on the disk`),
			func(*Blame, []string) *k6x.Error { return outOfSpace() }},
		// The go command cannot list its own library when it cannot write to its cache.
		{regexp.MustCompile(`(?m)^GOROOT\S+: package \S+ is not in std`),
			func(*Blame, []string) *k6x.Error { return outOfSpace() }},
		{regexp.MustCompile(`(?m): signal: killed$`),
			func(*Blame, []string) *k6x.Error { return outOfMemory() }},
	}
}

// earlyRules are for failures before anything is compiled, in the order of how much they tell.
func earlyRules() []rule {
	return []rule{
		{regexp.MustCompile(`(\S+@[^\s:/]+)(?:/go\.mod)?: (?:verifying (?:module|go\.mod): )?checksum mismatch`), badChecksum},
		{regexp.MustCompile(`(\S+@[^\s:/]+)(?:/go\.mod)?: verifying (?:module|go\.mod): `), unverified},
		{regexp.MustCompile(`(?:(\S+@\S+) )?requires go >= (\S+) \(running go`), newerGo},
		{regexp.MustCompile(`download (go\S+) for \S+: toolchain not available`), noToolchain},
		{regexp.MustCompile(`(\S+@\S+): parsing go\.mod:\n\s*module declares its path as: (\S+)\n\s*but was required as: (\S+)`), renamed},
		{regexp.MustCompile(`ambiguous import: found package (\S+) in multiple modules:((?:\n\s+\S+ \S+.*)+)`), ambiguous},
		{regexp.MustCompile(`malformed module path "([^"\s]+)"`), nameless},
		{regexp.MustCompile(`build constraints exclude all Go files in (\S+)`), excluded},
		{regexp.MustCompile(`import "(\S+)" is a program, not an importable package`), program},
		{regexp.MustCompile(`: read (\S+): unexpected NUL in input`), notText},
		{regexp.MustCompile(`unsupported GOOS/GOARCH pair (\S+)`), noPlatform},
		{regexp.MustCompile(`missing go\.sum entry|updates to go\.mod needed|updates to go\.sum needed`), badLock},
		{regexp.MustCompile(fetching), unfetched},
	}
}

// classify returns the error for a go command that printed text, of which some may be shown;
// killed says that it was killed, and not by us.
func (b *Blame) classify(text, shown string, killed bool) *k6x.Error {
	rules, compiled := machineRules(), Compiled(text)
	if !compiled {
		rules = append(rules, earlyRules()...)
	}
	for _, r := range rules {
		if match := r.pattern.FindStringSubmatch(text); match != nil {
			return r.explain(b, match)
		}
	}
	switch {
	case killed:
		return outOfMemory()
	case compiled:
		return b.uncompiled(shown)
	}
	return k6x.Errorf(k6x.BuildFailed, "%s cannot be built:\n%s", b.list(), quote(shown))
}

func badChecksum(b *Blame, match []string) *k6x.Error {
	return k6x.Errorf(k6x.Forbidden, "what was downloaded of %s does not have the checksum that it is known by", b.labelOf(match[1])).
		WithHint("The release was changed after it was published, or the download was tampered with. Use another version.")
}

func unverified(b *Blame, match []string) *k6x.Error {
	return k6x.Errorf(k6x.Unavailable, "the checksum database does not vouch for %s", b.labelOf(match[1])).
		WithHint("For a private module the operator sets GONOSUMDB or GOPRIVATE.").WithRetry(time.Minute)
}

func newerGo(b *Blame, match []string) *k6x.Error {
	subject := b.list()
	if match[1] != "" {
		subject = b.describeOf(match[1])
	}
	return k6x.Errorf(k6x.Conflict, "%s needs Go %s, and builds here are made with %s", subject, match[2], b.recipe.Toolchain).
		WithHint("Ask for an older version of it.")
}

func noToolchain(_ *Blame, match []string) *k6x.Error {
	return k6x.Errorf(k6x.Unavailable, "the toolchain %s, which this binary is built with, is not to be had", match[1])
}

func renamed(b *Blame, match []string) *k6x.Error {
	return k6x.Errorf(k6x.NotFound, "%s declares its path as %s, but was required as %s", b.describeOf(match[1]), match[2], match[3]).
		WithHint("Ask for it by its own path, or build it in the place of that where you are: k6x build --replace %s=%s.", match[2], match[1])
}

// ambiguous is for modules that have the same package, as when one of them was a part of the other once. An extension is at fault that leads
// to one of them which k6 does not lead to or, if there is none, that leads to one.
func ambiguous(b *Blame, match []string) *k6x.Error {
	k6 := b.graph.Roots[0]
	var clashing []module.Version
	roots := make(map[module.Version][]module.Version)
	culprit := -1
	for line := range strings.Lines(strings.TrimSpace(match[2])) {
		words := strings.Fields(line)
		m := module.Version{Path: words[0], Version: words[1]}
		clashing = append(clashing, m)
		roots[m] = b.graph.RootsTo(func(n module.Version) bool { return n == m })
		if len(without(roots[m], k6)) > 0 && (culprit < 0 || !slices.Contains(roots[m], k6) && slices.Contains(roots[clashing[culprit]], k6)) {
			culprit = len(clashing) - 1
		}
	}
	if culprit < 0 {
		return k6x.Errorf(k6x.BuildFailed, "%s cannot be built: more than one module has the package %s:%s", b.list(), match[1], match[2])
	}
	m := clashing[culprit]
	other, subject := clashing[(culprit+1)%len(clashing)], without(roots[m], k6)[0]
	with := other.String() + ", which " + b.k6() + " uses"
	if users := roots[other]; slices.Contains(b.graph.Roots, other) { // an extension itself
		with = b.label(other)
	} else if len(users) > 0 && !slices.Contains(users, k6) {
		with = other.String() + ", which " + b.label(users[0]) + " uses"
	}
	requires := b.label(subject) + " requires " + m.String()
	if by := b.graph.RequiredBy(m); !slices.Contains(by, subject) {
		requires = b.label(subject) + " needs " + by[0].String() + ", which requires " + m.String()
	}
	return k6x.Errorf(k6x.BuildFailed, "%s, which clashes with %s: both have the package %s", requires, with, match[1]).
		WithHint("Ask for a newer version of %s, or leave it out. Its author mends it by go get %s@latest.", subject.Path, m.Path)
}

// without returns a list without m.
func without(list []module.Version, m module.Version) []module.Version {
	return slices.DeleteFunc(slices.Clone(list), func(n module.Version) bool { return n == m })
}

func excluded(b *Blame, match []string) *k6x.Error {
	subject := match[1]
	m, ok := splitDir(match[1])
	if ok {
		subject = b.describe(m)
	}
	if b.recipe.Cgo {
		return k6x.Errorf(k6x.BuildFailed, "%s has no Go files for %s", subject, b.recipe.Platform)
	}
	if _, dir := b.dir(strings.Replace(filepath.ToSlash(match[1]), "@"+m.Version, "", 1)); ok && dir != "" {
		if len(b.read(m, dir).with) == 0 {
			return k6x.Errorf(k6x.BuildFailed, "%s has no Go files for %s, with cgo or without: it does not support the platform", subject, b.recipe.Platform).
				WithHint("Leave it out, or ask for another platform.")
		}
		return k6x.Errorf(k6x.BuildFailed, "%s has no Go files for %s without cgo: it needs cgo", subject, b.recipe.Platform).WithHint(cgoHint, m)
	}
	return k6x.Errorf(k6x.BuildFailed, "%s has no Go files for %s without cgo: it may need cgo, or does not support the platform", subject, b.recipe.Platform).
		WithHint(cgoHint, m)
}

// cgoHint says for a module, to whoever reads it, what builds with cgo.
const cgoHint = "Leave it out, or build it where cgo is on: CGO_ENABLED=1 xk6 build --with %s, " +
	"or k6build local or server with --enable-cgo and a catalog that says \"cgo\": true of it."

func notText(b *Blame, match []string) *k6x.Error {
	file := match[1]
	if m, ok := splitDir(file); ok {
		file = "a file of " + b.describe(m)
	}
	return k6x.Errorf(k6x.BuildFailed, "%s is no Go source: there is a NUL byte in it", file)
}

func program(b *Blame, match []string) *k6x.Error {
	subject := match[1]
	if m, ok := b.owner(match[1]); ok {
		subject = b.describe(m)
	}
	return k6x.Errorf(k6x.BuildFailed, "%s is a program and no extension: its package is main", subject)
}

func noPlatform(_ *Blame, match []string) *k6x.Error {
	return k6x.Errorf(k6x.NotFound, "there is no Go for the platform %s", match[1])
}

func badLock(*Blame, []string) *k6x.Error {
	return k6x.Errorf(k6x.Internal, "the stored lock of this binary does not fit its recipe")
}

// fetching matches the failure to get one module: the module, if it is named, and why
// it failed, with the lines that belong to it.
const fetching = `(?m)^(?:go: |\S+:\d+:\d+: )?(?:\S+@\S+ requires\n\s*)*(?:(\S+@[^\s:]+): )?` +
	`((?:reading |read |Get |unrecognized import path|invalid version: |unknown revision|module lookup disabled|` +
	`refusing to pass credentials|git |exit status ).*(?:\n\s+.*)*)`

var absent = regexp.MustCompile(`: 404 |: 410 |unknown revision|[Rr]epository not found|does not exist|could not read Username|not found:`)

func unfetched(b *Blame, match []string) *k6x.Error {
	subject := "a module"
	if match[1] != "" {
		subject = b.describeOf(match[1])
	}
	if b.Unreached != nil {
		if failure := b.Unreached(match[0]); failure != nil {
			failure.Message = subject + " cannot be downloaded: " + failure.Message
			if failure.Kind == k6x.Forbidden { // that is for what has another checksum
				failure.Kind = k6x.NotFound
			}
			return failure
		}
	}
	if absent.MatchString(match[2]) {
		return b.absent(gomod.ParseVersion(match[1]), subject)
	}
	if strings.Contains(match[2], "disabled by GOPROXY=off") {
		return k6x.Errorf(k6x.Unavailable, "%s is not at hand, and nothing is fetched: GOPROXY is off", subject).
			WithHint("What another machine has, k6x cache export and import bring.").WithRetry(-1)
	}
	return k6x.Errorf(k6x.Unavailable, "%s cannot be downloaded now", subject).WithRetry(10 * time.Second)
}

// nameless is for a module that only a replacement has, under a name that no server has.
func nameless(b *Blame, match []string) *k6x.Error {
	m := module.Version{Path: match[1], Version: b.selected[match[1]]}
	return b.absent(m, b.describe(m))
}

// absent returns the error for a module that cannot be had, with the words for it.
func (b *Blame) absent(m module.Version, words string) *k6x.Error {
	for _, by := range b.extensionsTo(m) {
		if f := b.graph.Files[by]; f != nil {
			if with, ok := f.Replaces(m); ok {
				why, hint := b.ignoredBy(by, m, m, with)
				return k6x.Errorf(k6x.NotFound, "%s is not to be found: %s", words, why).WithHint("%s", hint)
			}
		}
	}
	return k6x.Errorf(k6x.NotFound, "%s is not to be found", words).
		WithHint("Check its name and version. If it is on no module proxy, the operator has to name it, as with --direct 'git.example.com/*'.")
}

// compileHeader is how the go command announces what the compiler or linker says of a package.
var compileHeader = regexp.MustCompile(`(?m)^# (\S+)`)

// Compiled reports whether text is of a go command that came as far as to compile.
func Compiled(text string) bool { return compileHeader.MatchString(text) }

var noCompiler = regexp.MustCompile(`C compiler "[^"]*" not found`)

// uncompiled returns the error for a package that does not compile.
func (b *Blame) uncompiled(text string) *k6x.Error {
	match := compileHeader.FindStringSubmatchIndex(text)
	pkg, said := text[match[2]:match[3]], quote(text[match[0]:])
	if pkg == "runtime/cgo" || noCompiler.MatchString(text) {
		return k6x.Errorf(k6x.BuildFailed, "%s needs cgo, and there is no C compiler for %s here:\n%s",
			b.list(), b.recipe.Platform, said).WithHint("Build it where there is one.")
	}
	m, ok := b.owner(pkg)
	switch {
	case pkg == "k6":
		return k6x.Errorf(k6x.BuildFailed, "%s cannot be linked:\n%s", b.list(), said)
	case !ok:
		return k6x.Errorf(k6x.BuildFailed, "%s does not compile:\n%s", pkg, said)
	}
	if files := b.leftOut(pkg, said); files != "" {
		return k6x.Errorf(k6x.BuildFailed, "%s does not compile without cgo, which leaves out %s:\n%s", b.describe(m), files, said).WithHint(cgoHint, m)
	}
	if why, hint := b.reason(m, said); why != "" {
		return k6x.Errorf(k6x.BuildFailed, "%s does not compile: %s:\n%s", b.describe(m), why, said).WithHint("%s", hint)
	}
	if m.Path == b.recipe.K6.Path {
		return k6x.Errorf(k6x.BuildFailed, "%s does not compile:\n%s", b.label(m), said).
			WithHint("An extension may have raised the version of a module that k6 needs. Ask for fewer extensions or another version of k6.")
	}
	return k6x.Errorf(k6x.BuildFailed, "%s does not compile:\n%s", b.describe(m), said).
		WithHint("It may be made for another version of k6. Ask for another version of the one or the other.")
}

// findingModule is what the go command prints before it looks for a module with a package
// that no go.mod provides.
const findingModule = "go: finding module for package "

// Unpinned returns the package that a line of the go command's output says it will look for a
// module for. Nobody asked for such a module, so the build is to be ended at once.
func Unpinned(line string) (pkg string, ok bool) { return strings.CutPrefix(line, findingModule) }

// ExplainUnpinned returns the error for an import of pkg that no go.mod provides, where the
// go command printed text, which is clean.
func (b *Blame) ExplainUnpinned(pkg, text string) error {
	failure := b.unpinned(pkg)
	shown, withheld := b.withhold(text)
	failure.Err = errors.New(quote(shown))
	return setOutput(failure, shown, withheld)
}

func (b *Blame) unpinned(pkg string) *k6x.Error {
	owner, owned := b.owner(pkg)
	if owned && owner.Path == pkg && b.pinned(pkg) {
		return k6x.Errorf(k6x.BuildFailed, "%s is no extension: it has no package at its root", b.label(owner))
	}
	if pkg == b.recipe.K6.Path+"/cmd" {
		return k6x.Errorf(k6x.BuildFailed, "%s has no package %s, so no k6 can be made of it", b.k6(), pkg)
	}
	subject := "a module of " + b.list()
	tidy := "Run go mod tidy in the module and release it."
	if m, ok := b.importer(pkg); ok {
		subject, tidy = b.describe(m), "Run go mod tidy in "+m.Path+" and release it."
		if r := b.Replaced.of(m); r != nil && r.Dir != "" {
			tidy = "Run go mod tidy in " + r.Dir + "."
		}
		if why, hint := b.reason(m, pkg); why != "" {
			return k6x.Errorf(k6x.BuildFailed, "%s imports %s, which is not there: %s", subject, pkg, why).WithHint("%s", hint)
		}
	}
	if owned {
		return k6x.Errorf(k6x.BuildFailed, "%s imports %s, which %s does not have", subject, pkg, owner).
			WithHint("It may be made for another version of %s. Ask for another version of the one or the other.", owner.Path)
	}
	return k6x.Errorf(k6x.BuildFailed, "%s imports %s, which none of the modules in its go.mod provides; its go.mod is untidy", subject, pkg).
		WithHint("%s", tidy)
}

// labelOf and describeOf are label and describe of path@version.
func (b *Blame) labelOf(text string) string    { return b.label(gomod.ParseVersion(text)) }
func (b *Blame) describeOf(text string) string { return b.describe(gomod.ParseVersion(text)) }

// splitDir returns the module of a directory path@version/….
func splitDir(dir string) (module.Version, bool) {
	path, rest, ok := strings.Cut(strings.ReplaceAll(dir, `\`, "/"), "@")
	version, _, _ := strings.Cut(rest, "/")
	return module.Version{Path: path, Version: version}, ok
}

// quote returns the first lines of text.
func quote(text string) string {
	lines := strings.SplitN(strings.TrimRight(text, "\n"), "\n", quoteLines+1)
	cut := len(lines) > quoteLines
	if cut {
		lines = lines[:quoteLines]
	}
	s := strings.Join(lines, "\n")
	if len(s) > quoteBytes {
		s, cut = strings.ToValidUTF8(s[:quoteBytes], ""), true
	}
	if cut {
		s += "\n…"
	}
	return s
}
