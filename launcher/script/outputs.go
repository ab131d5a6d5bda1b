package script

import (
	"slices"
	"strings"
)

// builtinOutputs are the outputs that are part of k6 v1.8.1, by internal/cmd/outputs.go there.
// kafka, statsd and datadog were, and k6 refuses extensions of these names, naming replacements.
var builtinOutputs = []string{
	"cloud", "csv", "experimental-opentelemetry", "experimental-prometheus-rw", "influxdb", "json",
	"opentelemetry", "summary", "web-dashboard",
	"datadog", "kafka", "statsd",
}

type output struct{ name, where string }

// outputs returns the outputs that need an extension. As in k6, flags come before the variable K6_OUT.
func outputs(in Input) []output {
	values, where := in.Outputs, "--out"
	if len(values) == 0 {
		text, _ := in.Env("K6_OUT")
		values, where = strings.Split(text, ","), "K6_OUT"
	}
	var found []output
	for _, value := range values {
		name, _, _ := strings.Cut(value, "=")
		name = strings.TrimSpace(name)
		if name != "" && !slices.Contains(builtinOutputs, name) {
			found = append(found, output{name, where})
		}
	}
	return found
}
