package service

import (
	"slices"
	"testing"
)

func TestCodingsAreChosenByTheirQualities(t *testing.T) {
	for header, want := range map[string][]string{
		"":                                 nil,
		"identity":                         nil,
		"br, deflate":                      nil,
		"gzip":                             {"gzip"},
		"GZIP":                             {"gzip"},
		"x-gzip":                           {"gzip"},
		"gzip, deflate, br, zstd":          {"zstd", "gzip"},
		"gzip;q=1.0, zstd;q=0.5":           {"gzip", "zstd"},
		"gzip; q=0.2, identity; q=0.5":     nil,
		"gzip;q=0.5, identity;q=0.5":       {"gzip"},
		"zstd;q=0.8, identity;q=0.5, gzip": {"gzip", "zstd"},
		"*":                                {"dcz", "zstd", "gzip"},
		"*;q=0":                            nil,
		"*;q=0, gzip":                      {"gzip"},
		"zstd;q=0, *;q=0.1":                {"dcz", "gzip"},
		"gzip, dcz;q=0.5":                  {"gzip", "dcz"},
		"identity;q=0":                     nil,
		"identity;q=0, zstd;q=0.001":       {"zstd"},
		"zstd;q=banana, gzip;q=7":          nil,
		"zstd;q=NaN":                       nil,
		"zstd;q=-1":                        nil,
		";;;,,":                            nil,
	} {
		var got []string
		for _, c := range acceptable([]string{header}, codings()) {
			got = append(got, c.name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
