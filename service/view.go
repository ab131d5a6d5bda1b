package service

import (
	"net/url"
	"time"

	"k6x/builder"
	"k6x/history"
	"k6x/resolver"
)

// What pages show is what JSON answers have: a handler makes one of these values, and [Service.answerPage] sends it in one of the two forms.

// Picker is the body of /: what can be built here, and what was chosen of it.
type Picker struct {
	Choice     Choice     `json:"choice"`
	K6         []string   `json:"k6"` // versions, the newest first, as far as they are known
	Platforms  []string   `json:"platforms"`
	Extensions Extensions `json:"extensions"`
	NeedsToken bool       `json:"needs_token"` // to build what is not stored
}

// Choice is what the query of / asks for.
type Choice struct {
	K6       string   `json:"k6"` // version; "": the newest that will do
	Platform string   `json:"platform"`
	With     []Chosen `json:"with"`

	Query    string    `json:"query"`              // the choice as a query of /, without a search
	Asked    string    `json:"asked"`              // the URL path of what is asked for, whether it can be built or not; "": it is none
	Path     string    `json:"path,omitempty"`     // canonical; "": it is not known, for a reason that Problem has, or as nothing was chosen
	URL      string    `json:"url"`                // of Path, or of Asked
	Modules  []Chosen  `json:"modules,omitempty"`  // of Path: k6 first, with exact versions
	Problem  *Trouble  `json:"problem,omitempty"`  // why there is no Path
	Warnings []string  `json:"warnings,omitempty"` // of the registries
	Stored   bool      `json:"stored"`             // the binary is sent without a build
	Pending  bool      `json:"pending,omitempty"`  // what goes together is still being found out, as Problem says: look again
	Token    bool      `json:"token,omitempty"`    // building it needs one, which the request lacks
	Digest   string    `json:"digest,omitempty"`   // hex SHA-256, if it was built before
	Size     int64     `json:"size,omitempty"`     // bytes, of the same
	Build    string    `json:"build,omitempty"`    // id of the attempt to build Path that runs, or of the last one
	Outcome  string    `json:"outcome,omitempty"`  // of that
	Commands []Command `json:"commands,omitempty"` // what gets and uses it
}

// Chosen is an extension, or k6, in one version.
type Chosen struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`            // "": the newest that will do
	Versions []string `json:"versions,omitempty"` // that there are, the newest first, as far as they are known
	Query    string   `json:"-"`                  // of / with the choice without it
}

// Command is something to copy.
type Command struct {
	Name string `json:"name"` // curl, wget, powershell, k6x, k6, script, docker or check
	Text string `json:"text"` // one line or a few
}

// Trouble is something that does not work, and what to do.
type Trouble struct {
	Kind      string        `json:"kind"`                // of an error (docs/contracts.md, section 1), or the part of the service
	Code      string        `json:"code,omitempty"`      // of what is wrong with the service: a part that does not work, or draining, queue_full, queue_slow, store_full or disk_scarce
	Values    []any         `json:"-"`                   // in the text of that
	Extension string        `json:"extension,omitempty"` // at fault, as far as that is known
	Message   string        `json:"message"`
	Hint      string        `json:"hint,omitempty"`
	Since     time.Time     `json:"since,omitzero"`
	Instead   []Alternative `json:"instead,omitempty"` // choices that work
}

// Alternative is another choice.
type Alternative struct {
	List  string `json:"list"`  // such as k6@v1.8.1,k6/x/redis@v0.3.6
	Query string `json:"query"` // of / with it
}

// Extensions is the body of /extensions: a page of what can be built here.
type Extensions struct {
	Search     Search      `json:"search"`
	Extensions []Extension `json:"extensions"`
	Total      int         `json:"total"`            // that the search finds
	All        int         `json:"all"`              // that there are
	Cursor     string      `json:"cursor,omitempty"` // for the next page; "": there is none
	Tiers      []Facet     `json:"tiers,omitempty"`  // of all
	Kinds      []Facet     `json:"kinds,omitempty"`  // of all
}

// Search says which extensions are wanted, and in which order.
type Search struct {
	Text string `json:"q,omitempty"`    // words, each of which a name, import path, description or author has
	Tier string `json:"tier,omitempty"` // official, partner, community or whatever registries say
	Kind string `json:"kind,omitempty"` // javascript, output or subcommand
	Sort string `json:"sort,omitempty"` // name, stars or newest; "": what fits best
}

// Facet counts the extensions that have something in common.
type Facet struct {
	Value string `json:"value"`
	Count int    `json:"count"`
}

// Extension is one of them. All texts are those of a registry, cleaned of what cannot be printed and cut to a length.
type Extension struct {
	Name        string    `json:"name"`            // as a list names it
	Names       []string  `json:"names,omitempty"` // others that it has
	Module      string    `json:"module"`
	Kinds       []string  `json:"kinds"`
	Description string    `json:"description,omitempty"`
	Author      string    `json:"author,omitempty"`
	Tier        string    `json:"tier,omitempty"`
	License     string    `json:"license,omitempty"`
	Repository  string    `json:"repository,omitempty"` // http or https URL
	Stars       int       `json:"stars,omitempty"`
	Updated     time.Time `json:"updated,omitzero"` // the repository, when the registry was made
	Archived    bool      `json:"archived,omitempty"`
	Cgo         bool      `json:"cgo,omitempty"`
	Constraint  string    `json:"constraint,omitempty"` // of the registry on versions
	K6          string    `json:"k6,omitempty"`         // version that its newest one needs at least, as far as that is known
	Versions    []string  `json:"versions,omitempty"`   // the newest first, as far as they are known
	Issues      []string  `json:"issues,omitempty"`     // that the registry has with the newest version
	Outcome     string    `json:"outcome,omitempty"`    // of the last build of its newest version alone with k6: built, failed or untried; "": that is not shown
	Build       string    `json:"build,omitempty"`      // id of that
	BuildError  string    `json:"build_error,omitempty"`

	Chosen bool   `json:"-"` // it is in the choice of the page
	Query  string `json:"-"` // of / with the choice and it; of a chosen one: without it
}

// BuildList is the body of /builds.
type BuildList struct {
	Running []*history.Result  `json:"running,omitempty"` // on the first page, and those that ended just now
	Builds  []history.Numbered `json:"builds"`
	Cursor  string             `json:"cursor,omitempty"` // for the next page; "": there is none

	Query url.Values `json:"-"` // the filters
}

// Build is the body of /builds/{id}.
type Build struct {
	*history.Result
	Waiting bool   `json:"waiting,omitempty"` // for its turn
	Ahead   int    `json:"ahead,omitempty"`   // builds that came before it and wait, too
	Step    string `json:"step,omitempty"`    // that it is at
	Done    int64  `json:"done,omitempty"`    // modules or packages of that
	Total   int64  `json:"total,omitempty"`   // 0: that is not known

	Instead []Alternative `json:"instead,omitempty"` // where it failed: a choice that may work
}

// Matrix is the body of /matrix.
type Matrix struct {
	Cells []history.Cell `json:"cells"`
	More  bool           `json:"more,omitempty"` // cells are left out, as there are too many

	Rows      []MatrixRow `json:"-"` // one page of the cells by extension, version and k6: those with a failure first
	Platforms []string    `json:"-"` // the columns
	Total     int         `json:"-"` // rows on all pages
	Next      string      `json:"-"` // query of the next page; "": there is none
	Query     url.Values  `json:"-"` // the filters
}

// MatrixRow is one version of an extension with one of k6.
type MatrixRow struct {
	Extension, Version, K6 string
	Failing                bool
	Cells                  []*history.Cell // by platform; nil: it was not tried
}

// Changes is what the page of /changes shows; as JSON these are lines of the entries.
type Changes struct {
	Newest    []history.Numbered // the newest first
	Last      int64              // number of the last entry
	Extension string             // "": all
}

// ErrorPage is what a browser is shown of an error.
type ErrorPage struct {
	Problem
	Topic string // anchor of the paragraph of /help about it
	Path  string // that was asked for
	Query string // of / with the choice that the path names; "": it names none
}

// Help is what /help shows.
type Help struct {
	URL        string    `json:"url"`     // that stands before all paths
	Example    string    `json:"example"` // a canonical path
	Platforms  []string  `json:"platforms"`
	NeedsToken bool      `json:"needs_token"` // to build what is not stored
	Public     bool      `json:"public"`      // what came of builds is shown without a token
	Commands   []Command `json:"commands"`    // for the example
	Version    Version   `json:"version"`
}

// Status is the body of /status.
type Status struct {
	Time     time.Time `json:"time"`
	Works    bool      `json:"works"`              // nothing is wrong
	Problems []Trouble `json:"problems,omitempty"` // what is wrong, and what to do
	Hidden   bool      `json:"hidden,omitempty"`   // what names modules is left out, as the request has no token

	Version    Version                 `json:"version"`
	Service    string                  `json:"service,omitempty"` // id of the one that answers
	Started    time.Time               `json:"started"`
	Draining   bool                    `json:"draining,omitempty"` // it is about to stop
	Services   []Replica               `json:"services"`           // that live or built something lately, this one first
	Queue      Queue                   `json:"queue"`
	Pools      []Pool                  `json:"pools"` // of what builds; the slots of this service are one
	Stores     []CacheStatus           `json:"stores"`
	Caches     []CacheStatus           `json:"caches"`
	Disks      []Disk                  `json:"disks"`
	Parts      []Part                  `json:"parts"`
	Registries []resolver.SourceStatus `json:"registries"`
	Requests   Requests                `json:"requests"`
	Failures   []*history.Result       `json:"failures,omitempty"` // recent ones, the newest first
}

// Replica is a service on the same store.
type Replica struct {
	ID      string    `json:"id"`
	Self    bool      `json:"self,omitempty"` // it is the one that answers
	Running int       `json:"running"`        // builds that are seen
	Builds  int       `json:"builds"`         // of the recent ones
	Failed  int       `json:"failed"`         // of those
	Seen    time.Time `json:"seen,omitzero"`  // when it last said that it lives, or the last build ended
}

// Queue is what waits for a slot.
type Queue struct {
	Waiting    int             `json:"waiting"`
	Limit      int             `json:"limit"`
	Background int             `json:"background"` // that no client waits for
	Oldest     history.Seconds `json:"oldest"`     // how long the first has waited
}

// Pool is a group of workers.
type Pool = builder.Pool

// Worker is what does one build at a time.
type Worker = builder.Worker

// CacheStatus is how full something is that keeps bytes, and of how much use.
type CacheStatus struct {
	Name      string  `json:"name"` // store, bucket, module, build or shared
	Entries   int     `json:"entries,omitempty"`
	Bytes     int64   `json:"bytes"`
	Limit     int64   `json:"limit"`             // 0: none
	Counted   bool    `json:"counted,omitempty"` // hits and misses are
	Hits      int64   `json:"hits,omitempty"`
	Misses    int64   `json:"misses,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"` // of hits; 0 also if nothing was asked for
	Evictions int64   `json:"evictions,omitempty"`
	Full      string  `json:"full,omitempty"` // why nothing can be kept
}

// Disk is one that the service writes to.
type Disk struct {
	Name string `json:"name"` // of the directory: cache or store
	Free int64  `json:"free"`
	Size int64  `json:"size"`
}

// Requests counts those since the start.
type Requests struct {
	All    int64 `json:"all"`
	Hits   int64 `json:"hits"` // binaries from the store
	Built  int64 `json:"built"`
	Failed int64 `json:"failed"` // builds
}
