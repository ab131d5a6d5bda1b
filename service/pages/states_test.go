package pages_test

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"k6x/history"
	"k6x/resolver"
	"k6x/service"
	"k6x/service/pages"
)

// state is a page in one of the states that it can be in.
type state struct {
	name string
	page pages.Page
}

const (
	secs   = history.Seconds(time.Second)
	digest = "9f2c1f0e5a7b4f3a8d6e2b1c0a9f8e7d6c5b4a39281706f5e4d3c2b1a0998877"
	runID  = "01JCQ5W8E4N7T9V2"
	origin = "https://k6.example.com"
)

var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

// states returns every page in every state that was thought of.
func states() []state {
	var all []state
	add := func(name, page, query string, data any) {
		all = append(all, state{page + "-" + name, pages.Page{Name: page, Origin: origin, Query: query, Token: strings.Contains(name, "token"), Data: data}})
	}
	add("first", "picker", "", pickerState(0))
	add("chosen", "picker", "with=k6/x/redis&with=k6/x/faker@v0.4.4", pickerState(2))
	add("stored", "picker", "with=k6/x/redis", storedPicker())
	add("conflict", "picker", "with=k6/x/redis@v0.1.0", conflictPicker())
	pending := conflictPicker()
	pending.Choice.Pending, pending.Choice.Problem = true, &service.Trouble{Kind: "timeout", Message: "the module proxy has not answered yet"}
	add("pending", "picker", "with=k6/x/redis", pending)
	token := pickerState(2)
	token.Choice.Token = true
	add("token", "picker", "with=k6/x/redis", token)
	add("none", "picker", "q=nothing", nonePicker())
	add("empty", "picker", "", &service.Picker{Choice: service.Choice{Platform: platforms[0]}, Platforms: platforms})
	add("hostile", "picker", "", hostilePicker())

	add("list", "builds", "", buildList())
	add("empty", "builds", "", &service.BuildList{Query: url.Values{}})
	add("unfit", "builds", "outcome=differs", &service.BuildList{Query: url.Values{"outcome": {"differs"}}})

	add("waiting", "build", "", &service.Build{Result: result(history.Running), Waiting: true, Ahead: 3})
	add("next", "build", "", &service.Build{Result: result(history.Running), Waiting: true})
	running := result(history.Running)
	running.Steps, running.Queued = steps()[:2], 4*secs
	add("running", "build", "", &service.Build{Result: running, Step: "compiling", Done: 214, Total: 612})
	add("built", "build", "", &service.Build{Result: result(history.Built)})
	add("failed", "build", "", &service.Build{Result: result(history.Failed), Instead: conflictPicker().Choice.Problem.Instead[:1]})
	add("differs", "build", "", &service.Build{Result: result(history.Differs)})
	aborted := result(history.Aborted)
	aborted.Guessed = true
	add("aborted", "build", "", &service.Build{Result: aborted})
	add("hostile", "build", "", &service.Build{Result: hostileResult()})

	add("mixed", "matrix", "", matrix())
	add("empty", "matrix", "", &service.Matrix{Platforms: platforms, Query: url.Values{}})

	add("well", "status", "", status(false))
	add("wrong", "status", "", status(true))
	add("token", "status", "", func() *service.Status { s := status(false); s.Hidden, s.Failures = true, nil; return s }())

	add("news", "changes", "", changes())
	add("empty", "changes", "", &service.Changes{})
	add("open", "help", "", help(false))
	add("token", "help", "", help(true))
	add("unauthorized-token", "error", "", problem(401, "Unauthorized", "unauthorized", "a token is needed to build something new", "Send it as the password, or as a Bearer token."))
	add("conflict", "error", "", problem(409, "Conflict", "conflict", "k6/x/redis v0.1.0 needs k6 v1.4.0, and v1.2.0 was asked for", "k6@v1.4.0,k6/x/redis@v0.1.0 works."))
	add("failed", "error", "", problem(422, "Unprocessable Entity", "build_failed", strings.Join(compilerWords, "\n"), "Leave out k6/x/broken, or ask its author."))
	add("busy", "error", "", problem(503, "Service Unavailable", "busy", "the queue is full", "Try again in 10 seconds."))
	add("missing", "error", "", problem(404, "Not Found", "not_found", "there is no extension k6/x/rediss", "Did you mean k6/x/redis?"))
	return all
}

var compilerWords = []string{
	"k6/x/broken v0.3.0 does not compile",
	"example.com/xk6-broken/client.go:17:9: undefined: lib.State",
	"example.com/xk6-broken/client.go:42:21: cannot use c.options (variable of type map[string]interface{}) as *redis.UniversalOptions value in argument to redis.NewUniversalClient",
}

func ago(d time.Duration) time.Time { return time.Now().Add(-d) }

func catalogue() []service.Extension {
	row := func(name, about, tier, author, license string, stars int, days int, outcome string, versions ...string) service.Extension {
		kind := "javascript"
		switch {
		case strings.HasPrefix(name, "subcommand:"):
			kind = "subcommand"
		case !strings.HasPrefix(name, "k6/x/"):
			kind = "output"
		}
		e := service.Extension{Name: name, Module: "github.com/grafana/xk6-" + name[strings.LastIndexAny(name, "/:")+1:], Kinds: []string{kind}, Description: about, Author: author, Tier: tier,
			License: license, Stars: stars, Updated: ago(time.Duration(days) * 24 * time.Hour), K6: "v1.2.0", Versions: versions, Outcome: outcome, Query: "with=" + name}
		e.Repository = "https://" + e.Module
		if outcome != "untried" {
			e.Build = runID
		}
		return e
	}
	return []service.Extension{
		row("k6/x/redis", "Talk to Redis from a test: strings, hashes, lists and sets, with promises.", "official", "Grafana Labs", "Apache-2.0", 34, 41, "built", "v0.3.6", "v0.3.5", "v0.3.4"),
		row("k6/x/faker", "Random names, addresses, numbers and whole sentences for test data.", "official", "Grafana Labs", "AGPL-3.0", 71, 12, "built", "v0.4.4", "v0.4.3"),
		row("k6/x/sql", "Query SQL databases: PostgreSQL, MySQL, SQLite and others, by drivers of their own.", "official", "Grafana Labs", "Apache-2.0", 128, 90, "failed", "v1.0.6", "v1.0.5"),
		row("k6/x/kafka", "Produce to and consume from Apache Kafka with schemas in Avro, JSON and Protobuf.", "community", "Mostafa Moradian", "Apache-2.0", 190, 190, "untried", "v1.2.0"),
		row("dashboard", "Watch a run in the browser, and keep a report of it as a page.", "official", "Grafana Labs", "AGPL-3.0", 382, 20, "built", "v0.8.1"),
		row("subcommand:docs", "Read the documentation of k6 in the terminal.", "partner", "Example Ltd", "MIT", 3, 2, "built", "v0.1.0"),
		{Name: "k6/x/old", Module: "example.com/old", Kinds: []string{"javascript"}, Archived: true, Cgo: true, Tier: "community", Outcome: "untried", Names: []string{"k6/x/older"}, Issues: []string{"vulnerability"}, Query: "with=k6/x/old"},
	}
}

func pickerState(chosen int) *service.Picker {
	all := catalogue()
	p := &service.Picker{K6: []string{"v1.8.1", "v1.8.0", "v1.7.2"}, Platforms: platforms,
		Choice: service.Choice{Platform: platforms[0]},
		Extensions: service.Extensions{Extensions: all, Total: len(all), All: 85, Cursor: "n",
			Tiers: []service.Facet{{Value: "official", Count: 41}, {Value: "community", Count: 40}, {Value: "partner", Count: 4}},
			Kinds: []service.Facet{{Value: "javascript", Count: 71}, {Value: "output", Count: 11}, {Value: "subcommand", Count: 3}}}}
	for i := range chosen {
		all[i].Chosen = true
		p.Choice.With = append(p.Choice.With, service.Chosen{Name: all[i].Name, Versions: all[i].Versions})
		p.Choice.Modules = append(p.Choice.Modules, service.Chosen{Name: all[i].Name, Version: all[i].Versions[0]})
	}
	if chosen > 0 {
		p.Choice.With[chosen-1].Version = all[chosen-1].Versions[0]
		p.Choice.Modules = append([]service.Chosen{{Name: "k6", Version: "v1.8.1"}}, p.Choice.Modules...)
		setPath(&p.Choice, "/linux/amd64/k6@v1.8.1,k6/x/faker@v0.4.4,k6/x/redis@v0.3.6")
	}
	return p
}

func setPath(c *service.Choice, path string) {
	c.Path, c.URL = path, origin+path
	c.Commands = commands(path)
}

func commands(path string) []service.Command {
	return []service.Command{
		{Name: "curl", Text: "curl -fL -o k6 " + origin + path + " && chmod +x k6"},
		{Name: "wget", Text: "wget -O k6 " + origin + path + " && chmod +x k6"},
		{Name: "powershell", Text: "Invoke-WebRequest -OutFile k6.exe " + origin + strings.Replace(path, "linux", "windows", 1)},
		{Name: "k6x", Text: "K6X_BUILDER_SERVICE=" + origin + " k6x run --with 'k6 = 1.8.1' --with 'k6/x/faker = 0.4.4' --with 'k6/x/redis = 0.3.6' script.js"},
		{Name: "k6", Text: "K6_BUILD_SERVICE_URL=" + origin + " k6 run script.js"},
		{Name: "script", Text: "\"use k6 = 1.8.1\";\n\"use k6 with k6/x/faker = 0.4.4\";\n\"use k6 with k6/x/redis = 0.3.6\";"},
		{Name: "docker", Text: "ADD --checksum=sha256:" + digest + " --chmod=755 " + origin + path + " /usr/bin/k6"},
		{Name: "check", Text: "echo \"" + digest + "  k6\" | sha256sum -c"},
	}
}

func storedPicker() *service.Picker {
	p := pickerState(1)
	p.Choice.Stored, p.Choice.Digest, p.Choice.Size = true, digest, 63_412_224
	p.Choice.Warnings = []string{"k6/x/redis v0.3.6 registers a name that another package registers, too"}
	return p
}

func conflictPicker() *service.Picker {
	p := pickerState(2)
	p.Choice.Path, p.Choice.Modules, p.Choice.Commands = "", nil, nil
	p.Choice.K6 = "v1.2.0"
	p.Choice.Problem = &service.Trouble{Kind: "conflict", Extension: "k6/x/faker", Message: "k6/x/faker v0.4.4 needs k6 v1.4.0, and v1.2.0 was asked for",
		Hint: "Take a newer k6, or an older k6/x/faker.", Instead: []service.Alternative{
			{List: "k6@v1.8.1,k6/x/faker@v0.4.4,k6/x/redis@v0.3.6", Query: "k6=v1.8.1&with=k6/x/faker@v0.4.4&with=k6/x/redis"},
			{List: "k6@v1.2.0,k6/x/faker@v0.4.1,k6/x/redis@v0.3.6", Query: "k6=v1.2.0&with=k6/x/faker@v0.4.1&with=k6/x/redis"}}}
	return p
}

func nonePicker() *service.Picker {
	p := pickerState(0)
	p.Extensions.Extensions, p.Extensions.Total, p.Extensions.Cursor, p.Extensions.Search.Text = nil, 0, "", "nothing of the kind"
	return p
}

// evil are texts that strangers may think of.
var evil = []string{
	`<script>document.title="owned"</script><img src=x onerror="document.title='owned'">`,
	`"><svg onload=document.title='owned'> ' onfocus=document.title='owned' autofocus x='`,
	"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J \u202egnp.exe\u202c \u2066\u2067 \x00\x08",
	strings.Repeat("unbroken", 60),
	"مرحبا بالعالم \u200f שלום " + strings.Repeat("א", 80),
	"{{.Secret}} ${7*7} javascript:document.title='owned'",
}

func hostilePicker() *service.Picker {
	p := pickerState(2)
	p.Extensions.Extensions = nil
	for i, text := range evil {
		next := evil[(i+1)%len(evil)]
		p.Extensions.Extensions = append(p.Extensions.Extensions, service.Extension{Name: fmt.Sprintf("k6/x/evil%d", i), Names: []string{text}, Module: text, Kinds: []string{text}, Description: text + next, Author: text,
			Tier: text, License: text, Repository: "javascript:document.title='owned'", Constraint: text, K6: text, Versions: []string{text}, Issues: []string{text, next}, Outcome: "failed", Build: runID, BuildError: text})
	}
	p.Extensions.Extensions = append(p.Extensions.Extensions, service.Extension{Name: "k6/x/" + strings.Repeat("long", 48), Kinds: []string{"javascript"}, Outcome: "built", Repository: "https://user:pass@example.com/" + strings.Repeat("p", 300)})
	p.Extensions.Tiers = append(p.Extensions.Tiers, service.Facet{Value: evil[0], Count: 1}, service.Facet{Value: evil[3], Count: 1})
	p.Extensions.Search.Text = evil[1]
	p.Choice.With[0].Name, p.Choice.With[0].Versions = "k6/x/"+strings.Repeat("long", 48), evil
	p.Choice.Problem = &service.Trouble{Kind: "conflict", Extension: evil[0], Message: strings.Join(evil, "\n"), Hint: evil[1], Instead: []service.Alternative{{List: strings.Repeat("k6/x/long@v1.0.0,", 40), Query: "k6=v1"}}}
	p.Choice.Warnings = evil
	return p
}

func steps() []history.Step {
	return []history.Step{{Name: "preparing", Seconds: secs / 5}, {Name: "fetching", Seconds: 3 * secs, Done: 4}, {Name: "compiling", Seconds: 31 * secs, Done: 612}, {Name: "linking", Seconds: 6 * secs}, {Name: "checking", Seconds: secs / 2}}
}

func result(o history.Outcome) *history.Result {
	r := &history.Result{ID: runID, Path: "/linux/amd64/k6@v1.8.1,k6/x/faker@v0.4.4,k6/x/redis@v0.3.6", Key: digest, Platform: "linux/amd64", Toolchain: "go1.26.8", Service: "01JCQ5W8E4N7T9V2AABB",
		Modules: []history.Module{{Name: "k6", Version: "v1.8.1"}, {Name: "k6/x/faker", Version: "v0.4.4"}, {Name: "k6/x/redis", Version: "v0.3.6"}}, Begun: ago(3 * time.Minute), Outcome: o}
	if o == history.Running {
		r.Begun = ago(42 * time.Second)
		return r
	}
	r.Ended, r.Queued, r.Steps = r.Begun.Add(44*time.Second), 3*secs, steps()
	switch o {
	case history.Built:
		r.Digest, r.Size, r.Warnings = digest, 63_412_224, []string{"k6/x/redis v0.3.6: two packages register the name redis"}
	case history.Differs:
		r.Digest, r.Size, r.Kind, r.Error = digest, 63_412_224, "conflict", "a rebuild gave "+digest+", which is not what is kept"
	case history.Aborted:
		r.Kind, r.Error, r.Steps = "canceled", "the service ended before the build did", steps()[:2]
	case history.Failed:
		r.Kind, r.Extension, r.Error, r.Hint, r.Log, r.Steps = "build_failed", "k6/x/broken", strings.Join(compilerWords, "\n"), "Leave out k6/x/broken, or ask its author.", true, steps()[:3]
	}
	return r
}

func hostileResult() *history.Result {
	r := result(history.Failed)
	r.Extension, r.Error, r.Hint, r.Toolchain, r.Warnings = evil[0], strings.Join(evil, "\n"), evil[1], evil[2], evil
	r.Modules = append(r.Modules, history.Module{Name: "k6/x/" + strings.Repeat("long", 48), Version: "v1.0.0-" + strings.Repeat("0", 180)})
	r.Path = "/linux/amd64/" + strings.Repeat("k6/x/long@v1.0.0,", 200)
	for i, text := range evil {
		r.Steps = append(r.Steps, history.Step{Name: text, Seconds: secs * history.Seconds(i)})
	}
	return r
}

func numbered(i int, r *history.Result) history.Numbered {
	return history.Numbered{Number: int64(1000 - i), Time: r.Begun, Entry: history.Entry{Type: history.Build, Result: r}}
}

func buildList() *service.BuildList {
	l := &service.BuildList{Query: url.Values{}, Cursor: "rs", Running: []*history.Result{result(history.Running)}}
	for i, o := range []history.Outcome{history.Built, history.Failed, history.Built, history.Aborted, history.Differs, history.Built} {
		r := result(o)
		r.Begun = r.Begun.Add(-time.Duration(i*i) * time.Hour)
		r.Ended = r.Begun.Add(44 * time.Second)
		l.Builds = append(l.Builds, numbered(i, r))
	}
	l.Builds[5].Result.Modules = l.Builds[5].Result.Modules[:1]
	return l
}

func matrix() *service.Matrix {
	m := &service.Matrix{Platforms: platforms, Query: url.Values{}, Total: 85, Next: "cursor=x"}
	for i, e := range catalogue() {
		row := service.MatrixRow{Extension: e.Name, K6: "v1.8.1", Failing: i == 0}
		if e.Versions != nil {
			row.Version = e.Versions[0]
		} else {
			row.K6 = ""
		}
		for j := range platforms {
			o := history.Built
			switch {
			case i == 0 && j > 3:
				o = history.Failed
			case (i+j)%4 == 3:
				row.Cells = append(row.Cells, nil)
				continue
			case i == 4 && j == 1:
				o = history.Differs
			}
			row.Cells = append(row.Cells, &history.Cell{Extension: e.Name, Version: row.Version, K6: row.K6, Platform: platforms[j], Outcome: o, Since: ago(76 * time.Hour), Build: runID})
		}
		m.Rows = append(m.Rows, row)
	}
	return m
}

func status(wrong bool) *service.Status {
	s := &service.Status{Time: time.Now(), Works: !wrong, Started: ago(31 * time.Hour), Service: "01JCQ5W8E4N7T9V2AABB",
		Version:  service.Version{K6x: "v0.9.0", Go: []string{"go1.26.8"}, Platforms: platforms, Engines: []string{"native", "fast"}, Sandbox: service.Sandbox{State: "full"}, Limits: service.Limits{MaxBuilds: 4, Queue: 64, BuildTimeout: 600}},
		Services: []service.Replica{{ID: "01JCQ5W8E4N7T9V2AABB", Self: true, Running: 2, Builds: 96, Failed: 3, Seen: time.Now()}, {ID: "01JCR0000000000000CC", Running: 0, Builds: 41, Failed: 0, Seen: ago(3 * time.Minute)}},
		Queue:    service.Queue{Waiting: 3, Limit: 64, Background: 1, Oldest: 21 * secs},
		Pools: []service.Pool{{Name: "local", Slots: 4, Busy: 2, Workers: []service.Worker{
			{State: "busy", Build: runID, Path: "/linux/amd64/k6@v1.8.1,k6/x/faker@v0.4.4,k6/x/redis@v0.3.6", Step: "compiling", Done: 214, Total: 612, Since: ago(42 * time.Second)},
			{State: "busy", Build: runID, Path: "/darwin/arm64/k6@v1.8.1,k6/x/sql@v1.0.6", Step: "linking", Since: ago(70 * time.Second)},
			{State: "idle", Since: ago(4 * time.Minute)}, {State: "idle", Since: ago(31 * time.Hour)}}},
			{Name: "workers", Slots: 2, Busy: 1, Workers: []service.Worker{
				{Name: "w1", State: "busy", Build: runID, Path: "/linux/amd64/k6@v1.8.1,k6/x/sql@v1.0.6", Step: "linking", Since: ago(8 * time.Second), Version: "v0.9.0",
					Platforms: []string{"linux/arm64"}, Toolchains: []string{"go1.26.8"}, CPUs: 8, Memory: 32 << 30, Seen: time.Now(), Built: 412, Failed: 3},
				{Name: "w2", State: "idle", Since: ago(time.Hour), Version: "v0.9.0", Seen: time.Now()},
				{Name: "w3", State: "quarantined", Reason: "what was made elsewhere is not what was asked for: k6/x/sql is not in it", Seen: ago(time.Minute),
					Unverified: []string{"/linux/amd64/k6@v1.8.1,k6/x/sql@v1.0.6", "/darwin/arm64/k6@v1.8.1,k6/x/faker@v0.4.4"}}}}},
		Stores:     []service.CacheStatus{{Name: "store", Entries: 412, Bytes: 24_600_000_000, Limit: 50_000_000_000, Hits: 9120, Misses: 410, Ratio: 0.957, Evictions: 31, Counted: true}},
		Caches:     []service.CacheStatus{{Name: "build", Bytes: 4_900_000_000, Limit: 10_000_000_000, Hits: 51_200, Misses: 2300, Ratio: 0.957, Counted: true}, {Name: "module", Bytes: 1_200_000_000}, {Name: "shared", Hits: 1800, Misses: 500, Ratio: 0.78, Counted: true}},
		Disks:      []service.Disk{{Name: "cache", Free: 61_000_000_000, Size: 100_000_000_000}},
		Parts:      []service.Part{{Name: "store", Works: true}, {Name: "disk", Works: true}, {Name: "registries", Works: true}, {Name: "go", Works: true}},
		Registries: []resolver.SourceStatus{{Location: "https://registry.k6.io/registry.json", Loaded: true, Since: ago(4 * time.Minute)}},
		Requests:   service.Requests{All: 10_412, Hits: 9120, Built: 398, Failed: 12},
		Failures:   []*history.Result{result(history.Failed)},
	}
	if wrong {
		s.Problems = []service.Trouble{
			{Kind: "disk", Code: "disk_scarce", Values: []any{"cache", pages.Bytes(1_200_000_000)}, Since: ago(20 * time.Minute)},
			{Kind: "registries", Code: "registries", Message: "registry.k6.io does not answer: connection refused", Since: ago(time.Hour)}}
		s.Disks[0].Free = 1_200_000_000
		s.Parts[1] = service.Part{Name: "disk", Message: "1.2 GB are free", Since: ago(20 * time.Minute)}
		s.Registries[0].Stale, s.Registries[0].Error = true, "connection refused"
		s.Version.Sandbox = service.Sandbox{State: "partial", Lacks: []string{"network namespaces", "seccomp"}}
		s.Draining = true
		s.Stores[0].Full = "the bucket does not accept this service"
		s.Queue.Waiting, s.Queue.Oldest = 64, 400*secs
	}
	return s
}

func changes() *service.Changes {
	c := &service.Changes{Last: 1042, Newest: []history.Numbered{
		{Number: 1042, Time: ago(time.Minute), Entry: history.Entry{Type: history.Version, Module: "github.com/grafana/xk6-redis", Name: "k6/x/redis", Version: "v0.3.6"}},
		{Number: 1041, Time: ago(2 * time.Minute), Entry: history.Entry{Type: history.Retry, Build: runID, Retry: runID}},
		{Number: 1040, Time: ago(3 * time.Minute), Entry: history.Entry{Type: history.Quarantine, Worker: "w3", Reason: "the bytes of /linux/amd64/k6@v1.8.1 by w3 differ from those by w1"}}}}
	for i, o := range []history.Outcome{history.Built, history.Failed} {
		c.Newest = append(c.Newest, numbered(i, result(o)))
	}
	c.Newest = append(c.Newest, history.Numbered{Number: 990, Time: ago(100 * time.Hour), Entry: history.Entry{Type: history.Version, Module: "go.k6.io/k6", Name: "k6", Version: "v1.8.1"}})
	return c
}

func help(token bool) *service.Help {
	path := "/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6"
	return &service.Help{URL: origin, Example: path, Platforms: platforms, NeedsToken: token, Public: true, Commands: commands(path)}
}

func problem(status int, title, kind, detail, hint string) *service.ErrorPage {
	e := &service.ErrorPage{Problem: service.Problem{Title: title, Status: status, Detail: detail, Kind: kind, Hint: hint, ID: "7HTR4QXW2M"}, Topic: strings.ReplaceAll(kind, "_", "-"), Query: "with=k6/x/redis"}
	if kind == "build_failed" {
		e.Build, e.Log = runID, origin+"/builds/"+runID+"/log"
	}
	return e
}
