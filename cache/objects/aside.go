package objects

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// Of what was found damaged the last is kept, for the operator to look at.
const (
	asideName = "damaged"
	mostAside = 100
	longAside = 30 * 24 * time.Hour
)

// setAside moves what there is of a damaged object aside.
func (s *Store) setAside(home string, cause error) error {
	aside, now := filepath.Join(s.cfg.Dir, asideName, path.Base(home)+"-"+rand.Text()), s.cfg.Clock()
	err := os.MkdirAll(filepath.Dir(aside), 0o755)
	if err == nil {
		err = os.Rename(filepath.Join(s.cfg.Dir, filepath.FromSlash(home)), aside)
	}
	if err == nil {
		s.cfg.Logger.Error("damaged object moved aside", "dir", home, "to", aside, "error", cause)
		err = os.Chtimes(aside, now, now)
	}
	return err
}

// sweepAside removes what was moved aside long ago, and what is too much.
func (s *Store) sweepAside() {
	dir := filepath.Join(s.cfg.Dir, asideName)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var infos []fs.FileInfo
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for i, info := range infos {
		if i >= mostAside || s.cfg.Clock().Sub(info.ModTime()) > longAside {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, info.Name())))
		}
	}
	if err != nil {
		s.cfg.Logger.Warn("what was moved aside cannot be removed", "dir", dir, "error", err)
	}
}
