// The command vet has the analyzers of go vet, for systems that nothing is compiled for: it reads the dependencies from their
// sources, where go vet compiles and analyzes them all. So it takes a tenth of the time if these are not at hand. GOOS and GOARCH name the
// system; the arguments are package patterns.
package main

import (
	"golang.org/x/tools/go/analysis/multichecker"
	"golang.org/x/tools/go/analysis/suite/vet"
)

func main() { multichecker.Main(vet.Suite...) }
