// Package k6x is the vocabulary of a k6 build service: what a client asks for
// and what it gets.
//
//	path ─► parse ─► resolve ─► recipe ─► key ─► store? ── hit ─────────► response
//	(here)           resolver   (here)           cache   miss ─► build ─► store
//
// A [List] of [Dependency] values is a wish, as it stands in a URL. The resolver
// package turns it into exact [Module] values; with a [Platform] and [Settings]
// they make a [Recipe], which names everything that decides the bytes of a
// binary. [Recipe.Key] names those bytes, [Recipe.Path] is their URL path, and
// an [Artifact] is the record of the bytes once they exist.
//
// The packages resolver, cache and builder depend on this one only and do not
// know each other; service puts them together behind HTTP.
package k6x
