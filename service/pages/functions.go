package pages

import (
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/history"
)

// Texts are the words that people read, by key, in the form of package fmt.
type Texts map[string]string

// LoadTexts returns those in English. An error is one of what is embedded, which a test finds.
func LoadTexts() (t Texts, err error) {
	text, _ := files.ReadFile("texts.en.json") // embedded
	err = json.Unmarshal(text, &t)
	return t, err
}

// Bytes is a number of bytes in a text.
type Bytes int64

// Say returns a text with values in it, written for people.
func (t Texts) Say(key string, values ...any) string {
	words := slices.Clone(values)
	for i, v := range values {
		switch v := v.(type) {
		case Bytes:
			words[i] = t.size(v)
		case history.Seconds:
			words[i] = t.duration(v)
		case int:
			words[i] = number(v)
		}
	}
	return fmt.Sprintf(t[key], words...)
}

// functions are those of templates.
func (p *Pages) functions() template.FuncMap {
	return template.FuncMap{
		"t": p.text, "say": func(key string, values []any) string { return p.Say(key, values...) }, "rich": p.rich, "n": p.count, "has": func(key string) bool { return p.Texts[key] != "" }, "scripttexts": p.scriptTexts,
		"asset": func(name string) string { return p.base + "/assets/" + p.digest + "/" + name },
		"url":   p.url, "clean": clean, "external": external, "dict": dict, "list": func(items ...any) []any { return items },
		"bytes": p.size, "number": number, "duration": p.duration, "seconds": func(n int64) string { return p.duration(time.Duration(n) * time.Second) },
		"since": p.since, "stamp": stamp, "iso": iso, "elapsed": elapsed,
		"whole": func(t time.Time) int64 { return int64(time.Since(t).Seconds()) }, "soft": soft, "percent": p.percent, "width": width, "fullness": fullness, "used": func(free, whole any) float64 { return toFloat(whole) - toFloat(free) }, "bars": bars,
		"choice": p.choice, "short": short, "join": strings.Join, "split": strings.Split, "lines": lines, "next": func(i int) int { return i + 1 },
		"param":   func(query, name string) string { values, _ := url.ParseQuery(query); return values.Get(name) },
		"topic":   func(kind string) string { return strings.ReplaceAll(kind, "_", "-") },
		"address": func(path string) string { return strings.TrimPrefix(path, "/") },
	}
}

// text returns a text, with arguments in it. A key without a text is an error.
func (t Texts) text(key string, args ...any) (string, error) {
	text, ok := t[key]
	if !ok {
		return "", fmt.Errorf("there is no text %q", key)
	}
	if len(args) == 0 {
		return text, nil
	}
	return fmt.Sprintf(text, args...), nil
}

// rich is text with what stands between backticks as code.
func (t Texts) rich(key string, args ...any) (template.HTML, error) {
	text, err := t.text(key, args...)
	parts := strings.Split(template.HTMLEscapeString(text), "`")
	for i := 1; i < len(parts)-1; i += 2 {
		parts[i] = "<code>" + parts[i] + "</code>"
	}
	return template.HTML(strings.Join(parts, "")), err //nolint:gosec // escaped above
}

// count returns the text for so many, of the forms key.one and key.other.
func (t Texts) count(key string, n any) (string, error) {
	form := ".other"
	if v := reflect.ValueOf(n); v.CanInt() && v.Int() == 1 {
		form = ".one"
	}
	return t.text(key+form, number(n))
}

// scriptTexts returns the texts that the script shows.
func (t Texts) scriptTexts() string {
	texts := make(map[string]string)
	for key, text := range t {
		if name, ok := strings.CutPrefix(key, "js."); ok {
			texts[name] = text
		}
	}
	text, _ := json.Marshal(texts) // of strings
	return string(text)
}

// escapes are the sequences by which tools colour what they print, and others of terminals.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?|[@-Z\\\\^_])")

// clean returns what a stranger wrote without what a terminal or a line of text would be led astray by.
func clean(text any) string { return k6x.Printable(escapes.ReplaceAllString(fmt.Sprint(text), "")) }

// external returns the URL of a stranger if it may be a link; "" otherwise.
func external(text string) string {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	u.User = nil
	return u.String()
}

// url returns the URL of a path of the service, with what has a value of a query and of names and values besides.
func (p *Pages) url(path, query string, pairs ...string) (template.URL, error) {
	values, _ := url.ParseQuery(strings.TrimPrefix(query, "?")) // what is malformed is left out, as handlers do
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("a URL with %d names and values", len(pairs))
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			values.Set(pairs[i], pairs[i+1])
		} else {
			values.Del(pairs[i])
		}
	}
	text := p.base + path
	if len(values) > 0 {
		text += "?" + strings.NewReplacer("%2F", "/", "%40", "@", "%2C", ",", "%3A", ":").Replace(values.Encode())
	}
	return template.URL(text), nil //nolint:gosec // values are escaped, and paths are those of templates and of the service
}

// soft returns a text that breaks behind the signs at which addresses have their parts, first of all.
func soft(text string) template.HTML {
	return template.HTML(softer.Replace(template.HTMLEscapeString(text))) //nolint:gosec // escaped
}

var softer = strings.NewReplacer("/", "/<wbr>", ",", ",<wbr>", "://", "://", "&amp;", "&amp;<wbr>")

func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict of %d", len(pairs))
	}
	d := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		d[pairs[i].(string)] = pairs[i+1]
	}
	return d, nil
}

// number writes a number with spaces between thousands.
func number(n any) string {
	text := fmt.Sprint(n)
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "\u202f" + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// size writes a number of bytes for people.
func (t Texts) size(n any) string {
	f := toFloat(n)
	units := []string{"unit.B", "unit.kB", "unit.MB", "unit.GB", "unit.TB"}
	for ; f >= 1000 && len(units) > 1; units = units[1:] {
		f /= 1000
	}
	if units[0] == "unit.B" || f >= 100 {
		return t.Say(units[0], fmt.Sprintf("%.0f", f))
	}
	return t.Say(units[0], fmt.Sprintf("%.1f", f))
}

func toFloat(n any) float64 {
	switch v := reflect.ValueOf(n); {
	case v.CanInt():
		return float64(v.Int())
	case v.CanUint():
		return float64(v.Uint())
	case v.CanFloat():
		return v.Float()
	}
	return 0
}

// duration writes one, of any type that has nanoseconds, for people.
func (t Texts) duration(d any) string {
	s := toFloat(d) / 1e9
	switch n := int(s); {
	case s < 0.0005:
		return t.Say("js.seconds", 0)
	case s < 1:
		return t.Say("unit.ms", fmt.Sprintf("%.0f", s*1000))
	case s < 10:
		return t.Say("js.seconds", fmt.Sprintf("%.1f", s))
	case s < 60:
		return t.Say("js.seconds", fmt.Sprintf("%.0f", s))
	case s < 3600 && n%60 == 0:
		return t.Say("unit.min", n/60)
	case s < 3600:
		return t.Say("js.minutes", n/60, n%60)
	case s < 48*3600:
		return t.Say("unit.h", n/3600, n/60%60)
	default:
		return t.Say("unit.d", n/86400)
	}
}

// since writes how long ago a time was.
func (t Texts) since(at time.Time) (string, error) {
	d := time.Since(at)
	switch {
	case d < 5*time.Second:
		return t.text("time.now")
	case d < time.Minute:
		return t.text("time.seconds", int(d.Seconds()))
	case d < time.Hour:
		return t.text("time.minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return t.text("time.hours", int(d.Hours()))
	case d < 60*24*time.Hour:
		return t.text("time.days", int(d.Hours()/24))
	}
	return at.UTC().Format("2006-01-02"), nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// share returns a part of a whole between 0 and 1; 0 if there is no whole.
func share(part, whole any) float64 {
	w := toFloat(whole)
	if w <= 0 {
		return 0
	}
	return math.Min(1, math.Max(0, toFloat(part)/w))
}

// width is share in hundredths.
func width(part, whole any) float64 { return math.Round(1000*share(part, whole)) / 10 }

// fullness says how to draw something of which so much is free.
func fullness(free, whole any) string {
	switch f := share(free, whole); {
	case f < 0.05:
		return "bad"
	case f < 0.15:
		return "warn"
	}
	return "room"
}

func (t Texts) percent(f any) string {
	return t.Say("unit.percent", fmt.Sprintf("%.0f", toFloat(f)*100))
}

// short returns the beginning of a digest or an id.
func short(text string) string {
	if len(text) > 12 {
		return text[:12]
	}
	return text
}

// choice returns the URL of the picker with the modules of a binary.
func (p *Pages) choice(modules []history.Module, platform string) (template.URL, error) {
	values := url.Values{"platform": {platform}}
	for _, m := range modules {
		if m.Name == k6x.K6 {
			values.Set("k6", m.Version)
		} else {
			values.Add("with", strings.TrimSuffix(m.Name+"@"+m.Version, "@"))
		}
	}
	return p.url("/", values.Encode())
}

// elapsed returns the seconds since a time.
func elapsed(t time.Time) string { return fmt.Sprintf("%.1f", math.Max(0, time.Since(t).Seconds())) }

// lines returns how many lines a text has.
func lines(text string) int { return strings.Count(strings.TrimSpace(text), "\n") + 1 }

// bar is a step of a build where it stands in all of it.
type bar struct {
	Name     string
	Duration time.Duration
	Done     int64
	X, Width float64 // in hundredths of the whole
}

// bars lays out the time that a build waited and its steps, one behind the other.
func bars(r *history.Result) (all []bar) {
	var total time.Duration
	add := func(name string, d time.Duration, done int64) {
		all = append(all, bar{Name: name, Duration: d, Done: done, X: float64(total)})
		total += d
	}
	if r.Queued > history.Seconds(50*time.Millisecond) {
		add("queued", time.Duration(r.Queued), 0)
	}
	for _, step := range r.Steps {
		add(step.Name, time.Duration(step.Seconds), step.Done)
	}
	for i := range all {
		all[i].X = 100 * share(all[i].X, total)
		all[i].Width = max(0.7, 100*share(all[i].Duration, total))
		all[i].X = min(all[i].X, 100-all[i].Width)
	}
	return all
}
