package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// imported is something that a module imports.
type imported struct {
	specifier string
	line      int  // where it is written first; 0 if unknown
	must      bool // an import statement: without it the module does not load
}

// source is the imports and pragmas of one module.
type source struct {
	pragmas []literal
	imports []imported
	problem string // why the imports may be incomplete; "" if they are not
}

// parse reads a module. Bundling is not used although it finds imports too: for an import of a path
// that is put together at run time esbuild then lists directories, wherever that path may lead.
func parse(name, dir string, text []byte, depth int) source {
	text = bytes.TrimPrefix(text, []byte(bom))
	var src source
	lines := make(map[string]int)
	var seen []literal // extensions that seem to be imported
	deepest := scan(string(text), func(lit literal) {
		if lines[lit.text] == 0 {
			lines[lit.text] = lit.line
		}
		if lit.directive {
			src.pragmas = append(src.pragmas, lit)
		}
		if lit.imported && strings.HasPrefix(lit.text, extension) {
			seen = append(seen, lit)
		}
	})
	if deepest > depth {
		// The parser is recursive; a stack that is full would end this process.
		src.problem = "its expressions nest too deeply"
	} else if src.imports, src.problem = parseImports(name, dir, text); src.problem == "" {
		for i := range src.imports {
			src.imports[i].line = lines[src.imports[i].specifier]
		}
		return src
	}
	for _, lit := range seen {
		src.imports = append(src.imports, imported{specifier: lit.text, line: lit.line, must: true})
	}
	return src
}

type dialect struct {
	loader api.Loader
	format api.Format
}

// As in k6: a module, else a CommonJS module, else TypeScript under any name.
var dialects = []dialect{
	{api.LoaderJS, api.FormatESModule}, {api.LoaderJS, api.FormatCommonJS}, {api.LoaderTS, api.FormatESModule},
}

// parseImports returns the imports of a module: by statement, by import() or require() of a literal.
// Imports of types only do not count. problem says why it cannot tell.
func parseImports(name, dir string, text []byte) (found []imported, problem string) {
	try := dialects
	if strings.HasSuffix(name, ".ts") {
		try = []dialect{{api.LoaderTS, api.FormatESModule}, {api.LoaderTS, api.FormatCommonJS}}
	}
	for _, d := range try {
		result := api.Build(api.BuildOptions{
			Stdin:         &api.StdinOptions{Contents: string(text), Loader: d.loader},
			Format:        d.format,
			Platform:      api.PlatformNeutral,
			Target:        api.ESNext,
			Metafile:      true,
			LogLevel:      api.LogLevelSilent,
			AbsWorkingDir: dir,
			TsconfigRaw:   "{}", // else one would be looked for
		})
		if len(result.Errors) == 0 {
			found, err := metafileImports(result.Metafile)
			if err != nil {
				return nil, err.Error()
			}
			return found, ""
		}
		if problem == "" {
			first := result.Errors[0]
			problem = first.Text
			if first.Location != nil {
				problem = fmt.Sprintf("line %d: %s", first.Location.Line, first.Text)
			}
		}
	}
	return nil, problem
}

func metafileImports(text string) ([]imported, error) {
	var meta struct {
		Outputs map[string]struct {
			Imports []struct{ Path, Kind string }
		}
	}
	if err := json.Unmarshal([]byte(text), &meta); err != nil {
		return nil, fmt.Errorf("read the list of imports: %w", err)
	}
	var found []imported
	for _, out := range meta.Outputs {
		for _, imp := range out.Imports {
			found = append(found, imported{specifier: imp.Path, must: imp.Kind == "import-statement"})
		}
	}
	return found, nil
}
