package script_test

import (
	"context"
	"fmt"
	"strings"

	"k6x/launcher/script"
)

func ExampleAnalyze() {
	report, err := script.Analyze(context.Background(), script.Input{
		Path:    "-",
		Stdin:   strings.NewReader(`"use k6 >= v1.0"; import redis from "k6/x/redis";`),
		With:    []string{"k6/x/redis >= 0.3"},
		Outputs: []string{"top", "json=results.json"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	list, err := report.List()
	fmt.Println(list, err)
	fmt.Println(report.Needs[1].Sources[0].Where)
	// Output:
	// k6@>= v1.0,k6/x/redis@>= 0.3,top <nil>
	// stdin:1
}
