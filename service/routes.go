package service

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"

	"k6x"
)

// handler answers one request, or returns an error.
type handler func(w *response, r *http.Request) error

// anyPath is the path of a row for all paths that are in no other.
const anyPath = "/*"

// route is a row of the table of a server.
type route struct {
	method string // GET is HEAD too; a handler of any other method reads the body and sees to its deadlines
	path   string // as chi has it
	handler
	fail func(w *response, r *http.Request, err error) // writes the error that handler returns
}

// router returns the router of a table. A path of it has no methods but those of its rows.
func (f *front) router(table []route) *chi.Mux {
	mux := chi.NewRouter()
	paths := make(map[string]http.HandlerFunc)
	for _, first := range table {
		if paths[first.path] == nil {
			paths[first.path] = f.methods(slices.Collect(func(yield func(route) bool) {
				for _, to := range table {
					if to.path == first.path && !yield(to) {
						return
					}
				}
			}))
			mux.HandleFunc(first.path, paths[first.path])
		}
	}
	mux.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) { // of a method that chi does not know
		path := r.URL.RawPath
		if path == "" {
			path = r.URL.Path
		}
		if path = mux.Find(chi.NewRouteContext(), http.MethodGet, path); path == "" {
			mux.NotFoundHandler()(w, r)
			return
		}
		paths[path](w, r)
	})
	return mux
}

// methods answers with that one of the rows of a path which has the method of the request.
func (f *front) methods(rows []route) http.HandlerFunc {
	var allowed []string
	handlers := make(map[string]http.HandlerFunc)
	for _, to := range rows {
		allowed = append(allowed, to.method)
		handlers[to.method] = f.adapt(to)
		if to.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
			handlers[http.MethodHead] = handlers[http.MethodGet]
		}
	}
	other := f.adapt(route{method: http.MethodGet, fail: rows[0].fail, handler: func(_ *response, r *http.Request) error {
		if rows[0].path == anyPath {
			if err := f.lost(r); err != nil {
				return err
			}
		}
		return k6x.Errorf(k6x.Invalid, "%s is not allowed here", k6x.Clip(r.Method)).WithCause(&methodError{allowed})
	}})
	return func(w http.ResponseWriter, r *http.Request) {
		if h := handlers[r.Method]; h != nil {
			h(w, r)
			return
		}
		other(w, r)
	}
}

// methodError is the cause of an error for a method that a path does not have.
type methodError struct{ allowed []string }

func (e *methodError) Error() string { return "the methods are " + strings.Join(e.allowed, ", ") }

// methodNotAllowed is how an error with a [methodError] is called in documents and metrics.
const methodNotAllowed = "method_not_allowed"

// allowedMethods returns those of the path that a request asked another method of; nil if err is another error.
func allowedMethods(err error) []string {
	if e, ok := errors.AsType[*methodError](err); ok {
		return e.allowed
	}
	return nil
}
