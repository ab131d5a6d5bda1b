// Package pages has the views for a browser of what the service answers as JSON: html/template over the same values, one stylesheet, a few modules
// of plain JavaScript and all texts, embedded. Pages work without JavaScript; with it they follow what goes on: the script fetches the page
// once more and puts its marked regions in place of the old ones, so that there is one renderer.
//
// Files: pages.go, functions.go, assets.go, texts.en.json (every text that a person reads), templates, assets.
package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"path"
	"strings"
)

// Policy is the Content-Security-Policy of each page: nothing from other origins, no code and no style in the page itself.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Page is what a template gets.
type Page struct {
	Base   string // prefix of the service's paths, such as /k6x; "": none
	Origin string // URL of the service as its clients see it, with the base, without a slash at the end
	Path   string // path and query of the request, without the base
	Tokens bool   // are needed here to build
	Data   any    // the value that is the JSON of the same page
}

// Pages renders pages, and serves what they are made of.
type Pages struct {
	views  map[string]*template.Template
	texts  map[string]string
	assets map[string]asset
	digest string // of all assets
}

//go:embed templates assets texts.en.json
var files embed.FS

// New returns the pages. It panics if a template is wrong, which a test finds.
func New() *Pages {
	p := &Pages{views: make(map[string]*template.Template)}
	p.loadTexts()
	p.loadAssets()
	layout := template.Must(template.New("").Funcs(p.functions()).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	names, _ := files.ReadDir("templates") // embedded
	for _, file := range names {
		name := strings.TrimSuffix(file.Name(), path.Ext(file.Name()))
		if name != "layout" && name != "parts" {
			p.views[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "templates/"+file.Name()))
		}
	}
	return p
}

// Render writes one of the pages picker, builds, build, matrix, status, changes, help and error. Nothing is written if that fails.
func (p *Pages) Render(w io.Writer, name string, page Page) error {
	view := p.views[name]
	if view == nil {
		return fmt.Errorf("there is no page %q", name)
	}
	var body bytes.Buffer
	if err := view.ExecuteTemplate(&body, "layout", frame{page, name}); err != nil {
		return err
	}
	_, err := body.WriteTo(w)
	return err
}

// frame is what the layout gets.
type frame struct {
	Page
	Name string
}
