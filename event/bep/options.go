package bep

import (
	"net/url"
	"strings"

	"k6x/event/bep/pb"
)

// Redacted stands where a secret was.
const Redacted = "<REDACTED>"

// Option is a flag that was given.
type Option struct{ Name, Value string }

func (o Option) String() string { return "--" + o.Name + "=" + o.Value }

// Redact returns an option without secrets: the value of a flag that has one is gone, as are the users of URLs.
func Redact(name, value string, secret bool) Option {
	if secret {
		return Option{name, Redacted}
	}
	return Option{name, redactURLs(value)}
}

// RedactArgs returns arguments without the users of URLs.
func RedactArgs(args []string) []string {
	redacted := make([]string, len(args))
	for i, a := range args {
		redacted[i] = redactURLs(a)
	}
	return redacted
}

// redactURLs replaces what stands before the @ of each URL in a text, and the query of one that is signed.
func redactURLs(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	end := strings.IndexAny(rest, "/?#, \t\n")
	if end < 0 {
		end = len(rest)
	}
	host := rest[:end]
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = url.PathEscape(Redacted) + host[at:]
	}
	return scheme + "://" + host + redactURLs(rest[end:])
}

// commandLines returns the command line as it was given, and with each option in its long form.
func (c Config) commandLines() []*pb.CommandLine {
	chunks := func(label string, chunks ...string) *pb.CommandLineSection {
		return &pb.CommandLineSection{SectionLabel: label, SectionType: &pb.CommandLineSection_ChunkList{ChunkList: &pb.ChunkList{Chunk: chunks}}}
	}
	options := func(label string, options ...Option) *pb.CommandLineSection {
		list := &pb.OptionList{}
		for _, o := range options {
			list.Option = append(list.Option, &pb.Option{CombinedForm: o.String(), OptionName: o.Name, OptionValue: o.Value})
		}
		return &pb.CommandLineSection{SectionLabel: label, SectionType: &pb.CommandLineSection_OptionList{OptionList: list}}
	}
	var lines []*pb.CommandLine
	for _, label := range []string{"original", "canonical"} {
		lines = append(lines, &pb.CommandLine{CommandLineLabel: label, Sections: []*pb.CommandLineSection{
			chunks("executable", "k6x"), options("startup options"), chunks("command", c.Command),
			options("command options", c.Options...), chunks("residual", c.Pattern...),
		}})
	}
	return lines
}
