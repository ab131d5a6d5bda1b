package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// row is what was measured of one subject in one case.
type row struct {
	Measurement string    `json:"measurement"`
	Case        string    `json:"case"`
	Subject     string    `json:"subject"`
	Unit        string    `json:"unit"`
	Samples     []float64 `json:"samples"` // one for each round
	Median      float64   `json:"median"`
	Low         float64   `json:"low"`
	High        float64   `json:"high"`

	// Reference is the subject that Ratio compares with, round by round; Ratio is the
	// median of that. 0: there is nothing to compare with.
	Reference string  `json:"reference,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"`
}

// machine is where it was measured.
type machine struct {
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	CPUs      int    `json:"cpus"`
	Toolchain string `json:"toolchain"`
	Revision  string `json:"revision,omitempty"`
}

func thisMachine() machine {
	m := machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Toolchain: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				m.Revision = s.Value
			}
		}
	}
	return m
}

// report is all that was measured.
type report struct {
	Machine machine   `json:"machine"`
	Started time.Time `json:"started"`
	Count   int       `json:"count"`
	Short   bool      `json:"short"`
	Rows    []row     `json:"rows"`
}

// add enters the rows of a measurement, with what follows from their samples.
func (r *report) add(measurement string, rows []row) {
	rows = slices.DeleteFunc(rows, func(r row) bool { return len(r.Samples) == 0 })
	for i := range rows {
		row := &rows[i]
		row.Measurement = measurement
		row.Median, row.Low, row.High = median(row.Samples), slices.Min(row.Samples), slices.Max(row.Samples)
	}
	for i := range rows {
		row := &rows[i]
		for _, of := range rows {
			if row.Reference != "" && of.Subject == row.Reference && of.Case == row.Case && of.Unit == row.Unit {
				row.Ratio = ratio(row.Samples, of.Samples)
			}
		}
	}
	r.Rows = append(r.Rows, byCase(rows)...)
}

// byCase puts rows of one case, and of one unit in that, next to each other.
func byCase(rows []row) []row {
	first := map[string]int{}
	for i, row := range rows {
		for _, group := range []string{row.Case, row.Case + "\n" + row.Unit} {
			if _, ok := first[group]; !ok {
				first[group] = i
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(first[a.Case], first[b.Case]), cmp.Compare(first[a.Case+"\n"+a.Unit], first[b.Case+"\n"+b.Unit]))
	})
	return rows
}

func median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio compares what was measured in the same rounds.
func ratio(samples, of []float64) float64 {
	var ratios []float64
	for i := range min(len(samples), len(of)) {
		if of[i] != 0 {
			ratios = append(ratios, samples[i]/of[i])
		}
	}
	if ratios == nil {
		return 0
	}
	return median(ratios)
}

// print writes the table.
func (r *report) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s/%s, %d CPUs, %s; medians of n\n\n", r.Machine.OS, r.Machine.Arch, r.Machine.CPUs, r.Machine.Toolchain)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "measurement\tcase\tsubject\tn\tmedian\tfrom\tto\tunit\tratio")
	last := ""
	for _, row := range r.Rows {
		of := ""
		if row.Ratio != 0 {
			of = fmt.Sprintf("%.3g of %s", row.Ratio, row.Reference)
		}
		if row.Measurement != last && last != "" {
			fmt.Fprintln(table, strings.Repeat("\t", 8))
		}
		last = row.Measurement
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", row.Measurement, row.Case, row.Subject, len(row.Samples),
			figure(row.Median), figure(row.Low), figure(row.High), row.Unit, of)
	}
	return table.Flush()
}

// plural writes a number of things.
func plural(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "y"):
		thing = strings.TrimSuffix(thing, "y") + "ie"
	}
	return humanize.Comma(int64(n)) + " " + thing + "s"
}

// figure writes three digits of a number, or more if it is larger.
func figure(x float64) string {
	switch {
	case x >= 100 || x == 0:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 1:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

func (r *report) writeFile(name string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the figures: %w", err)
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}
