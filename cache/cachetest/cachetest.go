// Package cachetest has artifacts for tests of stores; its own tests are the conformance suite that all stores pass.
package cachetest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"k6x"
)

// Recipe returns the n-th of many recipes.
func Recipe(n int) k6x.Recipe {
	return k6x.NewRecipe(k6x.Platform{OS: "linux", Arch: "amd64"}, []k6x.Module{
		{Path: "go.k6.io/k6", Version: "v1.8.1", Names: []string{"k6"}},
		{Path: "example.com/xk6-it", Version: fmt.Sprintf("v0.%d.0", n), Names: []string{"k6/x/it"}},
	}, false, k6x.Settings{Toolchain: "go1.26.8", Flags: []string{"-trimpath"}, Layout: 1})
}

// Bytes returns size bytes that depend on seed.
func Bytes(seed uint64, size int) []byte {
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	data := make([]byte, size)
	random.Read(data)
	return data
}

// Fill returns what to give to Put so that data is stored.
func Fill(data []byte) func(io.Writer) (k6x.Build, error) {
	return func(w io.Writer) (k6x.Build, error) {
		_, err := w.Write(data)
		return build(), err
	}
}

func build() k6x.Build {
	return k6x.Build{
		Started: time.Now(), Duration: 90 * time.Second, Toolchain: "go1.26.8",
		BuildList: []k6x.Linked{{Path: "go.k6.io/k6", Version: "v1.8.1", Sum: "h1:abc="}},
		Lock:      k6x.Lock{GoMod: "module k6\n", GoSum: "go.k6.io/k6 v1.8.1 h1:abc=\n"},
	}
}
