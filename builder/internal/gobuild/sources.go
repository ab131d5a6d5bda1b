package gobuild

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	gotoken "go/token"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/disk"
)

// Bounds on what is read of the sources of a build, and on what is said of them.
const (
	maxPackages  = 1000
	keptPackages = 4096
	maxHead      = 1 << 20 // bytes of a file, for what it imports
	maxSource    = 1 << 20 // bytes of a file that is read as a whole
	maxFiles     = 200     // of a package that are read as a whole, and names that are kept of one
	maxWarnings  = 20
	mostFiles    = 5
)

// dir returns the directory with the files of a package, and its module; "" if they are not known.
func (b *Blame) dir(pkg string) (m module.Version, dir string) {
	m, ok := b.owner(pkg)
	if !ok || b.Root == nil {
		return m, ""
	}
	root, err := b.Root(m)
	if err != nil {
		return m, ""
	}
	return m, filepath.Join(root, filepath.FromSlash(strings.TrimPrefix(pkg, m.Path)))
}

// readPackage returns what the files say of a package that is built for a platform; nil if nothing can be read.
func readPackage(dir string, platform k6x.Platform, cgo bool) *build.Package {
	context := build.Default
	context.GOOS, context.GOARCH, context.CgoEnabled = platform.OS, platform.Arch, cgo
	context.GOROOT, context.GOPATH = "", ""
	context.OpenFile = func(name string) (io.ReadCloser, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(f, maxHead), f}, nil
	}
	p, _ := context.ImportDir(dir, 0) // that it cannot be built is the go command's to say
	return p
}

// Sources remembers what was read of packages, for several builds. Make one with [NewSources].
type Sources struct {
	packages *lru.Cache[packageKey, sources]
}

// NewSources returns one that knows nothing yet.
func NewSources() *Sources {
	packages, _ := lru.New[packageKey, sources](keptPackages) // fails for a size below one only
	return &Sources{packages}
}

type packageKey struct {
	dir, k6  string
	platform k6x.Platform
	cgo      bool
}

// sources are what the files of a package say.
type sources struct {
	imports    []string
	registered map[registration]int // how often it is registered whenever the program starts
	with       []string             // Go files that are compiled only with cgo
	without    []string             // and those that are only without
}

// read returns what the files of a package say that is in a directory of m.
func (b *Blame) read(m module.Version, dir string) sources {
	key := packageKey{dir, b.recipe.K6.Path, b.recipe.Platform, b.recipe.Cgo}
	keep := b.Sources != nil && b.Replaced.of(m) == nil
	if keep {
		if known, ok := b.Sources.packages.Get(key); ok {
			return known
		}
	}
	with, without := readPackage(dir, key.platform, true), readPackage(dir, key.platform, false)
	p := without
	if key.cgo {
		p = with
	}
	yes, no := append(with.GoFiles, with.CgoFiles...), without.GoFiles
	in := func(list []string) func(string) bool {
		return func(name string) bool { return slices.Contains(list, name) }
	}
	s := sources{p.Imports, registrations(p, key.k6), slices.DeleteFunc(slices.Clone(yes), in(no)), slices.DeleteFunc(slices.Clone(no), in(yes))}
	if keep && p.Name != "" && len(s.imports)+len(s.with)+len(s.without)+len(s.registered) <= maxFiles { // without a name it may not be here yet
		b.Sources.packages.Add(key, s)
	}
	return s
}

// leftOut returns the words for files of a package, and of what it imports, that are left out as there is no cgo; "" if there are none, or if
// text, which the compiler printed, cannot be about them.
func (b *Blame) leftOut(pkg, text string) string {
	m, dir := b.dir(pkg)
	if b.recipe.Cgo || dir == "" || !strings.Contains(text, "undefined") {
		return ""
	}
	var files []string
	add := func(with []string, prefix string) {
		for _, name := range with {
			files = append(files, prefix+name)
		}
	}
	own := b.read(m, dir)
	add(own.with, strings.TrimPrefix(strings.TrimPrefix(pkg, m.Path)+"/", "/"))
	for _, imported := range own.imports {
		if m, dir := b.dir(imported); dir != "" && mentions(text, imported) {
			add(b.read(m, dir).with, imported+"/")
		}
	}
	return listed(files)
}

// listed returns the words for names of files: the first of them.
func listed(files []string) string {
	if more := len(files) - mostFiles; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(files[:mostFiles], ", "), more)
	}
	return strings.Join(files, ", ")
}

// Warnings returns what the sources of the extensions say against a binary that can be built all the same: names that are
// registered twice, at which k6 panics, and files that take the place of others as there is no cgo. It reads the packages of all modules that
// require k6, and those that these import.
func (b *Blame) Warnings() []string {
	if b.Root == nil {
		return nil
	}
	var warnings []string
	registered := make(map[registration][]string) // the packages that register it
	var todo []string
	for _, m := range b.recipe.Extensions {
		todo = append(todo, m.Path)
	}
	seen := make(map[string]bool)
	for len(todo) > 0 && len(seen) < maxPackages {
		pkg := todo[0]
		todo = todo[1:]
		m, dir := b.dir(pkg)
		if seen[pkg] || dir == "" || m.Path == b.recipe.K6.Path {
			continue
		}
		seen[pkg] = true
		s := b.read(m, dir)
		if !b.recipe.Cgo && len(s.with) > 0 && len(s.without) > 0 {
			warnings = append(warnings, fmt.Sprintf("%s is built without cgo: %s takes the place of %s", b.words(pkg, m), listed(s.without), listed(s.with)))
		}
		if !b.requiresK6(m) {
			continue
		}
		for r, sure := range s.registered {
			for range max(sure, 1) {
				registered[r] = append(registered[r], pkg)
			}
		}
		todo = append(todo, s.imports...)
	}
	for _, r := range slices.SortedFunc(maps.Keys(registered), func(a, b registration) int { return strings.Compare(a.name+a.by, b.name+b.by) }) {
		by := registered[r]
		if len(by) < 2 {
			continue
		}
		words := make([]string, len(by))
		for i, pkg := range by {
			m, _ := b.owner(pkg)
			words[i] = b.words(pkg, m)
		}
		what := " and " + words[1] + " both register " + r.name
		if by[0] == by[1] {
			what = " registers " + r.name + " twice"
		}
		warnings = append(warnings, words[0]+what+": k6 may panic when it starts")
	}
	return warnings[:min(len(warnings), maxWarnings)]
}

// words returns those for a package of a module.
func (b *Blame) words(pkg string, m module.Version) string {
	if pkg == m.Path {
		return b.describe(m)
	}
	return pkg + " of " + b.describe(m)
}

// requiresK6 reports whether a module may register something: it is an extension, or its go.mod requires k6.
func (b *Blame) requiresK6(m module.Version) bool {
	f := b.graph.Files[m]
	return b.pinned(m.Path) || f != nil && slices.ContainsFunc(f.Require, func(r module.Version) bool { return r.Path == b.recipe.K6.Path })
}

// registration is a name that a package registers, by the function of k6 with that name, such as go.k6.io/k6/js/modules.Register.
type registration struct{ by, name string }

// registrations returns what a package registers with literal names, and how many calls are made for it whenever the program starts.
func registrations(p *build.Package, k6 string) map[registration]int {
	var files []string
	for imported, positions := range p.ImportPos {
		for _, at := range positions {
			if strings.HasPrefix(imported, k6+"/") && !slices.Contains(files, at.Filename) {
				files = append(files, at.Filename)
			}
		}
	}
	found := make(map[registration]int)
	for _, name := range files[:min(len(files), maxFiles)] {
		data, err := disk.ReadFile(name, maxSource)
		if err != nil {
			continue
		}
		if file, err := parser.ParseFile(gotoken.NewFileSet(), name, data, parser.SkipObjectResolution); err == nil {
			addRegistrations(found, file, k6)
		}
	}
	return found
}

// addRegistrations adds what a file registers.
func addRegistrations(found map[registration]int, file *ast.File, k6 string) {
	packages := make(map[string]string) // path by the name in this file
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !strings.HasPrefix(imported, k6+"/") {
			continue
		}
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		packages[name] = imported
	}
	constants := make(map[string]ast.Expr)
	sure := make(map[ast.Node]bool)
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == gotoken.CONST && len(v.Names) == len(v.Values) {
					for i, name := range v.Names {
						constants[name.Name] = v.Values[i]
					}
				}
			}
		case *ast.FuncDecl:
			if d.Name.Name != "init" || d.Recv != nil || d.Body == nil {
				continue
			}
			for _, statement := range d.Body.List {
				if s, ok := statement.(*ast.ExprStmt); ok {
					sure[s.X] = true
				}
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		function, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasPrefix(function.Sel.Name, "Register") {
			return true
		}
		in, _ := function.X.(*ast.Ident)
		if in == nil || packages[in.Name] == "" {
			return true
		}
		name := call.Args[0]
		if id, ok := name.(*ast.Ident); ok {
			name = constants[id.Name]
		}
		literal, _ := name.(*ast.BasicLit)
		if literal == nil || literal.Kind != gotoken.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil || k6x.CheckName(text) != nil {
			return true
		}
		r := registration{packages[in.Name] + "." + function.Sel.Name, text}
		if found[r] += 0; sure[call] { // it is there also if it is not sure
			found[r]++
		}
		return true
	})
}
