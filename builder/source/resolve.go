package source

import (
	"context"

	"golang.org/x/mod/module"
)

// Code is what a [Source] stands for: the files of Dir, or a module.
type Code struct {
	Source Source
	Dir    string         // absolute; "" for a module
	Module module.Version // if Dir is ""
	Commit string         // of a git repository
	Path   string         // of the module, as its own go.mod or its name has it
}

// String returns the words for a person: the source, and for a git repository the commit.
func (c Code) String() string {
	if c.Commit == "" {
		return c.Source.String()
	}
	return c.Source.String() + " (commit " + c.Commit[:min(12, len(c.Commit))] + ")"
}

// Resolve returns the code of a source. A git repository is fetched into dir as [Git.Fetch]
// does, which says what the errors are; a directory that has no module is an error of kind Invalid. Whether
// there is a module of that name and version is for the go command to find out.
func (g Git) Resolve(ctx context.Context, s Source, dir string) (c Code, err error) {
	c = Code{Source: s, Dir: s.Dir, Module: s.Module, Path: s.Module.Path}
	if s.Remote != "" {
		c.Dir = dir
		if c.Commit, err = g.Fetch(ctx, s, dir); err != nil {
			return Code{}, err
		}
	}
	if c.Dir != "" {
		if c.Path, err = ModulePath(c.Dir); err != nil {
			if s.Remote != "" { // the directory is one that the user has never heard of
				err = noModule(s.String(), "it has no go.mod at its root").WithCause(err)
			}
			return Code{}, err
		}
	}
	return c, nil
}
