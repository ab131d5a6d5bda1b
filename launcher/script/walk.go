package script

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/internal/disk"
)

// extension is the prefix of the names of JavaScript extensions.
const extension = "k6/x/"

// limits bound the reading of scripts. Beyond them nothing is read, and a note says so.
type limits struct {
	file     int64         // bytes in a module
	stdin    int64         // bytes in a script or archive on stdin; more is an error
	total    int64         // bytes in all modules
	modules  int           // modules of one script
	hops     int           // imports that lead from a script to a module of a URL
	entries  int           // files in an archive; more is an error
	depth    int           // expressions within expressions in a module
	duration time.Duration // for all modules, what is fetched included
}

var defaults = limits{file: 16 << 20, stdin: 256 << 20, total: 64 << 20, modules: 4096, hops: 64, entries: 1 << 17, depth: 20000,
	duration: 20 * time.Second}

const maxNotes = 50

type analysis struct {
	dir      string // where relative paths start, absolute
	limits   limits
	http     *http.Client // nil: nothing is fetched
	deadline time.Time    // for reading modules
	mentions []mention
	named    map[string]bool // the names in mentions
	byUser   map[string]bool // the names that come from the user's own hand
	report   Report
}

func (a *analysis) note(format string, args ...any) {
	if len(a.report.Notes) < maxNotes {
		a.report.Notes = append(a.report.Notes, fmt.Sprintf(format, args...))
	}
}

// files is where modules are: on disk or in an archive.
type files interface {
	// resolve returns the id of a module that is to be followed: a URL if k6 will fetch it; "" if there is none.
	resolve(importer, specifier string) string
	// read returns the text of a module.
	read(id string, limit int64) ([]byte, error)
	// show returns id as messages have it.
	show(id string) string
}

// module is one that is to be read.
type module struct {
	id    string
	text  []byte // if it was read already
	from  string // the place that imports it
	under string // the name it is imported by
	must  bool   // by import statements alone
	hops  int    // imports from the script to it
}

// walk reads main and all modules that it imports, directly or not, breadth first: those by import statements, then those that only
// code loads, as what those import is optional, and at last what has to be fetched, so that a host that is slow keeps no file from being read.
func (a *analysis) walk(ctx context.Context, where files, main module) error {
	main.must = true
	a.deadline = time.Now().Add(a.limits.duration)
	seen := map[string]bool{main.id: true} // id: whether it is needed by import statements alone
	left := a.limits.total
	queues := [...][]module{{main}, nil, nil}
	for {
		first := slices.IndexFunc(queues[:], func(queue []module) bool { return len(queue) > 0 })
		if first < 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		next := queues[first][0]
		if next.text == nil && time.Now().After(a.deadline) {
			rest := slices.Concat(queues[:]...)
			a.note("%d modules or more were not looked into: it took longer than %s", len(rest), a.limits.duration)
			for _, m := range rest {
				if isRemote(m.id) {
					a.unfetched(m, context.DeadlineExceeded)
				}
			}
			return nil
		}
		queues[first] = queues[first][1:]
		if seen[next.id] != next.must { // by an import statement it was read before
			continue
		}
		if next.text == nil {
			text, err := a.read(ctx, where, next, min(left, a.limits.file))
			if err != nil {
				if err := a.unread(ctx, where, next, err); err != nil {
					return err
				}
				continue
			}
			next.text = text
		}
		left -= int64(len(next.text))
		name := where.show(next.id)
		src := parse(name, a.dir, next.text, a.limits.depth)
		if src.problem != "" {
			a.note("%s: its imports may not all be known: %s", name, src.problem)
		}
		if err := a.pragmas(name, src.pragmas); err != nil {
			return err
		}
		for _, imp := range src.imports {
			from := position(name, imp.line)
			if imp.specifier == k6x.K6 || strings.HasPrefix(imp.specifier, "k6/") {
				if err := a.builtin(imp, from, next.must && imp.must); err != nil {
					return err
				}
				continue
			}
			m := module{id: a.resolve(where, next.id, imp.specifier), from: from, under: imp.specifier, must: next.must && imp.must, hops: next.hops + 1}
			before, again := seen[m.id]
			if m.id == "" || again && (before || !m.must) {
				continue
			}
			if !again && len(seen) >= a.limits.modules {
				a.note("%s: %q was not looked into: the script has more than %d modules", from, imp.specifier, a.limits.modules)
				return nil
			}
			queue := &queues[0]
			if isRemote(m.id) {
				queue = &queues[2]
			} else if !m.must {
				queue = &queues[1]
			}
			seen[m.id] = m.must
			*queue = append(*queue, m)
		}
	}
}

func (a *analysis) resolve(where files, importer, specifier string) string {
	if isRemote(importer) {
		return resolveRemote(importer, specifier)
	}
	return where.resolve(importer, specifier)
}

func (a *analysis) read(ctx context.Context, where files, m module, limit int64) ([]byte, error) {
	switch {
	case !isRemote(m.id):
		return where.read(m.id, limit)
	case m.hops > a.limits.hops:
		return nil, fmt.Errorf("it is more than %d imports away from the script", a.limits.hops)
	}
	return a.fetch(ctx, m.id, limit)
}

// builtin takes in an import of something that is part of k6 or of an extension.
func (a *analysis) builtin(imp imported, from string, must bool) error {
	if !strings.HasPrefix(imp.specifier, extension) {
		return nil
	}
	if err := k6x.CheckName(imp.specifier); err != nil {
		return at(from, err)
	}
	a.mention(k6x.Dependency{Name: imp.specifier}, from)
	a.mentions[len(a.mentions)-1].optional = !must
	return nil
}

func (a *analysis) pragmas(name string, directives []literal) error {
	for _, lit := range directives {
		dep, ok, err := parsePragma(lit.text)
		if err != nil {
			return at(position(name, lit.line), err)
		}
		if ok {
			a.mention(dep, position(name, lit.line))
		}
	}
	return nil
}

// unread returns the error of a module that cannot be read, if k6 could not go on without it and will not say so itself.
func (a *analysis) unread(ctx context.Context, where files, m module, err error) error {
	if isRemote(m.id) {
		a.unfetched(m, err)
		return ctx.Err()
	}
	path := where.show(m.id)
	if large, ok := tooLarge(err); ok {
		a.note("%s: it was not looked into: %s", path, large)
		return nil
	}
	reason := "it cannot be read"
	switch {
	case isMissing(err):
		reason = "there is no such file"
	case errors.Is(err, disk.ErrIrregular):
		reason = disk.ErrIrregular.Error()
	}
	if !m.must {
		a.note("%s: %q was not looked into: %s", m.from, m.under, reason)
		return nil
	}
	return k6x.Errorf(k6x.NotFound, "%s: %q is imported, but %s: %s", m.from, m.under, reason, path).
		WithHint("Give the path from the importing file with the whole name, for example ./lib.js rather than ./lib.").WithCause(err)
}

// position returns where, with a line if it is known.
func position(where string, line int) string {
	if line == 0 {
		return where
	}
	return fmt.Sprintf("%s:%d", where, line)
}
