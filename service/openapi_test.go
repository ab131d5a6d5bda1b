package service_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"k6x/cache/blob/mem"
	"k6x/history"
	"k6x/service"
)

// document is what openapi.yaml says, as far as the tests look at it.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]map[string]any }
}

type operation struct {
	Summary   string
	Responses map[string]struct {
		Description string
		Content     map[string]struct{ Schema map[string]any }
	}
}

func readDocument(t *testing.T) (d document) {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// bodies are the types of JSON that is answered or sent.
var bodies = []any{
	service.Picker{}, service.Extensions{}, service.BuildList{}, service.Build{}, service.Matrix{}, service.Status{}, service.Help{}, service.Problem{}, service.Version{},
	history.Numbered{},
}

// schemas returns the schemas of types and of those that they refer to, without words for people.
func schemas(types ...any) map[string]any {
	all := map[string]any{}
	var of func(t reflect.Type) map[string]any
	var fields func(t reflect.Type, properties map[string]any) (required []any)
	fields = func(t reflect.Type, properties map[string]any) (required []any) {
		for f := range t.Fields() {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			kind := f.Type
			if f.Anonymous && kind.Kind() == reflect.Pointer {
				kind = kind.Elem()
			}
			switch {
			case name == "-" || !f.IsExported():
			case f.Anonymous:
				required = append(required, fields(kind, properties)...)
			default:
				properties[name] = of(f.Type)
				if !strings.HasPrefix(options, "omit") {
					required = append(required, name)
				}
			}
		}
		return required
	}
	of = func(t reflect.Type) map[string]any {
		switch {
		case t == reflect.TypeFor[time.Time]():
			return map[string]any{"type": "string", "format": "date-time"}
		case t == reflect.TypeFor[history.Seconds]():
			return map[string]any{"type": "number"}
		}
		switch t.Kind() {
		case reflect.Pointer:
			return of(t.Elem())
		case reflect.String:
			return map[string]any{"type": "string"}
		case reflect.Bool:
			return map[string]any{"type": "boolean"}
		case reflect.Int, reflect.Int64:
			return map[string]any{"type": "integer"}
		case reflect.Float64:
			return map[string]any{"type": "number"}
		case reflect.Slice:
			return map[string]any{"type": "array", "items": of(t.Elem())}
		case reflect.Map:
			return map[string]any{"type": "object", "additionalProperties": of(t.Elem())}
		}
		if all[t.Name()] == nil {
			properties := map[string]any{}
			schema := map[string]any{"type": "object", "properties": properties}
			all[t.Name()] = schema
			if required := fields(t, properties); required != nil {
				schema["required"] = required
			}
		}
		return map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	}
	for _, one := range types {
		of(reflect.TypeOf(one))
	}
	return all
}

// The schemas are those of the types that are answered.
func TestTheDescriptionHasTheTypes(t *testing.T) {
	described := readDocument(t).Components.Schemas
	for _, schema := range described {
		delete(schema, "description")
	}
	want := schemas(bodies...)
	got := make(map[string]any)
	for name, schema := range described {
		got[name] = schema
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("openapi.yaml (-types +described):\n%s", diff)
	}
}

// check returns what is wrong with a value by a schema: each field has to be described.
func (d document) check(schema map[string]any, value any, where string) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		return d.check(d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")], value, where)
	}
	say := func(format string, args ...any) { wrong = append(wrong, where+": "+fmt.Sprintf(format, args...)) }
	switch kind := schema["type"]; v := value.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		more, open := schema["additionalProperties"].(map[string]any)
		if kind != "object" {
			say("an object")
		}
		for name, field := range v {
			if of, ok := properties[name].(map[string]any); ok {
				wrong = append(wrong, d.check(of, field, where+"."+name)...)
			} else if open {
				wrong = append(wrong, d.check(more, field, where+"."+name)...)
			} else if properties != nil {
				say("%s is not described", name)
			}
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				say("%s is missing", name)
			}
		}
	case []any:
		items, ok := schema["items"].(map[string]any)
		if !ok || kind != "array" {
			say("an array")
		}
		for i, item := range v {
			wrong = append(wrong, d.check(items, item, where+"["+jsonInt(i)+"]")...)
		}
	case string:
		if kind != "string" {
			say("a string")
		}
	case bool:
		if kind != "boolean" {
			say("a boolean")
		}
	case float64:
		if kind != "number" && (kind != "integer" || v != math.Trunc(v)) {
			say("a number")
		}
	default:
		say("%v", value)
	}
	return wrong
}

// What the real service answers is what is described, with nothing besides.
func TestAnswersAreAsDescribed(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{
		Version: service.Version{Go: []string{"go1.26"}, Engines: []string{"native"}, Sandbox: service.Sandbox{State: "full"}, Limits: service.Limits{MaxBuilds: 2}},
		Parts:   func() []service.Part { return []service.Part{{Name: "go", Message: "it is gone", Since: time.Now()}} },
		State: func() service.State {
			return service.State{Stores: []service.CacheStatus{{Name: "store"}}, Disks: []service.Disk{{Name: "cache", Size: 9, Free: 9}}}
		},
	}})
	resp, build := start(t, server, helloPath)
	begun := resp.Header.Get("Location")
	result(t, server, build)
	_, broken := start(t, server, brokenPath)
	result(t, server, broken)
	answered := make(map[string]bool)
	for _, c := range []struct{ path, described string }{
		{"/", "/"}, {"/?with=k6/x/hello@v0.1.1&k6=v1.1.0", "/"}, {"/?with=k6/x/newer@v0.2.0&k6=v1.0.0", "/"}, {"/extensions?limit=2", "/extensions"}, {"/builds?limit=1", "/builds"},
		{begun, "/builds/{id}"}, {strings.TrimPrefix(broken, server.URL), "/builds/{id}"}, {"/matrix", "/matrix"}, {"/status", "/status"}, {"/help", "/help"}, {"/version", "/version"},
		{"/changes", "/changes"}, {"/ready", "/ready"},
	} {
		resp, body := do(t, "GET", server.URL+c.path, "Accept: application/json")
		kind := resp.Header.Get("Content-Type")
		content, ok := d.Paths[c.described]["get"].Responses["200"].Content[kind]
		if !ok || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s is not described", c.path, resp.Status, kind)
		}
		for decoder := json.NewDecoder(bytes.NewReader(body)); ; answered[c.described] = true {
			var value any
			if err := decoder.Decode(&value); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", c.path, err)
			}
			if wrong := d.check(content.Schema, value, c.path); wrong != nil {
				t.Errorf("%s\n%s", strings.Join(wrong, "\n"), body)
			}
		}
	}
	for path, operations := range d.Paths { // each that has a schema of ours was asked for
		if schema := operations["get"].Responses["200"].Content["application/json"].Schema; schema["$ref"] != nil && !answered[path] {
			t.Errorf("%s was not asked for", path)
		}
	}
	_, body := do(t, "GET", server.URL+"/nothing", "Accept: application/json")
	var problem any
	if err := json.Unmarshal(body, &problem); err != nil {
		t.Fatal(err)
	}
	if wrong := d.check(map[string]any{"$ref": "#/components/schemas/Problem"}, problem, "/nothing"); wrong != nil {
		t.Error(wrong)
	}
	if resp, body := do(t, "GET", server.URL+"/openapi.yaml"); resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/yaml" || !bytes.HasPrefix(body, []byte("openapi: 3.1")) {
		t.Errorf("%s %.50s", resp.Status, body)
	}
}
