package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"k6x"
	"k6x/cache/dir"
)

// recipe returns the n-th of many recipes.
func recipe(n int) k6x.Recipe {
	return k6x.NewRecipe(k6x.Platform{OS: "linux", Arch: "amd64"}, []k6x.Module{
		{Path: "go.k6.io/k6", Version: "v1.8.1", Names: []string{"k6"}},
		{Path: "bench.example/xk6-it", Version: fmt.Sprintf("v0.%d.0", n), Names: []string{"k6/x/it"}},
	}, false, k6x.Settings{Toolchain: "go1.26.8", Flags: []string{"-trimpath"}, Layout: 1})
}

const registryText = `[{"module": "go.k6.io/k6", "imports": ["k6"]}, {"module": "bench.example/xk6-it", "imports": ["k6/x/it"]}]`

// fill stores the first n recipes, each as size random bytes, in the store of a cache directory, and
// returns the name of a registry that knows them. All but the first are written as the store writes
// them (see the package comment of k6x/cache/dir), but nobody waits for the disk.
func fill(ctx context.Context, cacheDir string, n int, size int64) (registry string, err error) {
	registry, err = fillFrom(ctx, cacheDir, io.LimitReader(rand.NewChaCha8([32]byte{1}), size))
	if err != nil || n == 1 {
		return registry, err
	}
	store, err := dir.Open(dir.Config{Dir: storeIn(cacheDir)})
	if err != nil {
		return "", err
	}
	defer store.Close()
	artifact, err := store.Record(ctx, recipe(0).Key())
	if err != nil {
		return "", err
	}
	binary, err := os.ReadFile(binaryOf(cacheDir, recipe(0)))
	if err != nil {
		return "", err
	}
	for i := 1; i < n && ctx.Err() == nil; i++ {
		artifact.Recipe = recipe(i)
		artifact.Path = artifact.Recipe.Path()
		if err := writeArtifact(cacheDir, artifact, binary); err != nil {
			return "", err
		}
	}
	return registry, ctx.Err()
}

// fillFrom stores the first recipe with the bytes that body has.
func fillFrom(ctx context.Context, cacheDir string, body io.Reader) (registry string, err error) {
	registry = filepath.Join(cacheDir, "registry.json")
	if err := os.WriteFile(registry, []byte(registryText), 0o644); err != nil {
		return "", err
	}
	store, err := dir.Open(dir.Config{Dir: storeIn(cacheDir)})
	if err != nil {
		return "", err
	}
	defer store.Close()
	return registry, put(ctx, store, 0, body)
}

// put stores the n-th recipe and binds its path.
func put(ctx context.Context, store *dir.Store, n int, body io.Reader) error {
	r := recipe(n)
	_, err := store.Put(ctx, r, func(w io.Writer) (k6x.Build, error) {
		_, err := io.Copy(w, body)
		return k6x.Build{Started: time.Now(), Toolchain: "go1.26.8"}, err
	})
	if err == nil {
		_, err = store.Bind(ctx, r.Path(), r.Key())
	}
	return err
}

// writeArtifact writes the files of an artifact and of the binding of its path.
func writeArtifact(cacheDir string, artifact k6x.Artifact, binary []byte) error {
	record, err := json.Marshal(artifact)
	if err != nil {
		return err
	}
	binding, err := json.Marshal(map[string]string{"path": artifact.Path, "key": artifact.Recipe.Key()})
	if err != nil {
		return err
	}
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(artifact.Path)))
	name := binaryOf(cacheDir, artifact.Recipe)
	bound := filepath.Join(storeIn(cacheDir), "paths", hash[:2], hash)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.MkdirAll(filepath.Dir(bound), 0o755)); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(name, binary, 0o755), os.WriteFile(bound, binding, 0o644),
		os.WriteFile(filepath.Join(filepath.Dir(name), "artifact.json"), record, 0o644))
}

func storeIn(cacheDir string) string { return filepath.Join(cacheDir, "store") }

// binaryOf returns the name of the file that has the bytes of a recipe.
func binaryOf(cacheDir string, r k6x.Recipe) string {
	key := r.Key()
	return filepath.Join(storeIn(cacheDir), "artifacts", key[:2], key, "binary")
}
