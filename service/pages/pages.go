// Package pages has the views for a browser of what the service answers as JSON: html/template over the same values, one stylesheet, a few modules
// of plain JavaScript and all texts, embedded. Pages work without JavaScript; with it they follow what goes on: the script fetches the page
// once more and puts its marked regions in place of the old ones, so that there is one renderer.
//
// Files: pages.go, functions.go, assets.go, texts.en.json (every text that a person reads), templates, assets.
package pages

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"path"
	"strings"
)

// Policy is the Content-Security-Policy of each page: nothing from other origins, no code and no style in the page itself.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Config says what all pages have in common.
type Config struct {
	Base string // URL path in front of all links, escaped, such as /k6x; "": none
}

// Page is what a template gets.
type Page struct {
	Name   string // of the template: picker, builds, build, matrix, status, changes, help or error
	Origin string // URL that stands before all paths as the client sees it, without a slash at the end
	Query  string // of the request, as it came
	Token  bool   // tokens are needed here to build
	Data   any    // the value that is the JSON of the same page
}

// Pages renders pages, and serves what they are made of.
type Pages struct {
	Texts
	base   string
	views  map[string]*template.Template
	assets map[string]asset
	digest string // of all assets
}

//go:embed templates assets texts.en.json
var files embed.FS

// New returns the pages. An error is one of what is embedded, which a test finds.
func New(cfg Config) (*Pages, error) {
	texts, err := LoadTexts()
	if err != nil {
		return nil, err
	}
	p := &Pages{Texts: texts, base: cfg.Base, views: make(map[string]*template.Template)}
	p.loadAssets()
	layout, err := template.New("").Funcs(p.functions()).ParseFS(files, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	names, _ := files.ReadDir("templates") // embedded
	for _, file := range names {
		name := strings.TrimSuffix(file.Name(), path.Ext(file.Name()))
		if name == "layout" || name == "parts" {
			continue
		}
		view, err := layout.Clone()
		if err == nil {
			p.views[name], err = view.ParseFS(files, "templates/"+file.Name())
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Render writes a page. If that fails, what was written is worth nothing.
func (p *Pages) Render(w io.Writer, page Page) error {
	view := p.views[page.Name]
	if view == nil {
		return fmt.Errorf("there is no page %q", page.Name)
	}
	return view.ExecuteTemplate(w, "layout", page)
}
