package main

import (
	"slices"
	"testing"

	"k6x/cmd/internal/app"
)

// Without the user's settings, those that the go command has by itself count; what is given
// with -e comes last, and the last one wins.
func TestEnvironmentOfTheGoCommand(t *testing.T) {
	given := []string{"GOPROXY=https://proxy.example.com"}
	env := func(copied bool) []string {
		var o app.Options
		if err := (&engineOptions{GoOptions: app.GoOptions{Env: given}, copyGoEnv: copied}).set(&o); err != nil {
			t.Fatal(err)
		}
		return o.Env
	}
	if got := env(true); !slices.Equal(got, given) {
		t.Errorf("with -g: %q", got)
	}
	given = []string{"A=1,B=2", "GOPROXY=https://proxy.example.com,direct"} // as k6build has several
	if got := env(true); !slices.Equal(got, []string{"A=1", "B=2", given[1]}) {
		t.Errorf("several: %q", got)
	}
	given = given[1:]
	got := env(false)
	if len(got) < 5 || got[len(got)-1] != given[0] || !slices.Contains(got, "GOSUMDB=sum.golang.org") {
		t.Errorf("without: %q", got)
	}
}

func TestBucketURL(t *testing.T) {
	for want, b := range map[string]bucketOptions{
		"":                         {lock: "local"},
		"s3://k6":                  {bucket: "k6", lock: "s3"},
		"s3://k6?region=eu-west-1": {bucket: "k6", region: "eu-west-1", lock: "local"},
		"s3://k6?endpoint=http%3A%2F%2Flocalhost%3A9000&s3ForcePathStyle=true": {bucket: "k6", endpoint: "http://localhost:9000", lock: "local"},
	} {
		if got, err := b.url(); err != nil || got != want {
			t.Errorf("%+v: %q, %v; want %q", b, got, err, want)
		}
	}
}

func TestCatalogs(t *testing.T) {
	for _, c := range []struct {
		options engineOptions
		want    []string
	}{
		{engineOptions{}, nil},
		{engineOptions{catalog: "a.json"}, []string{"a.json"}},
		{engineOptions{catalog: "a.json", catalogFor: []string{"go.k6.io/k6/v2=b.json"}}, []string{"a.json", "b.json"}},
		{engineOptions{catalogFor: []string{"go.k6.io/k6/v2=b.json"}}, []string{"embedded", "https://registry.k6.io/registry.json", "b.json"}},
	} {
		if got, err := c.options.registries(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, %v", c.options, got, err)
		}
	}
}
