// Package resolver turns a [k6x.List] into exact modules: versions of k6
// and of extension modules that agree with each other.
//
//	list ─► index ─► candidates ─► solve ─► Resolution
//	        names    versions      go.mod files
//
// Registries, files or URLs, say which module a name stands for; they overlay each
// other, a filter refuses entries, and together they are an index that is swapped as
// a whole when one of them changes. Version lists and go.mod files come from a module
// proxy by the go command's own rules and are kept on disk. The solver looks for the
// highest versions whose go.mod files agree, so that what it names is what minimal
// version selection selects when the main module requires exactly these versions.
//
// The files: source.go and sourceurl.go read registries, a file or a URL, again and again; registry.go and entry.go parse
// them, overlay.go and filter.go make the index, policy.go says what of it may be had. resolve.go tries the major versions of
// k6: candidates.go finds the versions that may be chosen, solve.go chooses, and conflict.go explains why there is
// no choice. names.go and published.go say which extensions, and which versions of all, there are. modules.go has what the module proxy
// says (versions.go, modfiles.go, needs.go), which fetched.go keeps.
package resolver
