package bep

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k6x/event/bep/pb"
)

// Redacted stands where a secret was.
const Redacted = "<REDACTED>"

// Option is a flag that was given.
type Option struct{ Name, Value string }

func (o Option) String() string { return "--" + o.Name + "=" + o.Value }

// secret matches the flags whose values may hold secrets, in the command lines of k6x, k6build, k6 and extensions of it. Files of tokens and
// keys are not secret, but their names are nothing to tell either.
var secret = regexp.MustCompile(`(?i)^(e|env|build-env)$|header|secret|token|passw|key|credential|auth`)

// Redact returns an option without secrets: the value of a flag that has one is gone, and so are the users of URLs and parameters
// that sign them.
func Redact(name, value string) Option {
	if secret.MatchString(name) {
		return Option{name, hide(value)}
	}
	return Option{name, redactValues(value)}
}

// RedactArgs does the same to the arguments of a command line. Of letters that are joined, such as -qe, more may go than has to. The letters of
// e and, in a login, t and p have secrets.
func RedactArgs(args []string) []string {
	letters := "e"
	if slices.Contains(args, "login") {
		letters = "etp"
	}
	redacted := make([]string, len(args))
	hidden := false // this one is the value of the last
	for i, a := range args {
		long, isLong := strings.CutPrefix(a, "--")
		name, value, joined := strings.Cut(long, "=")
		at := strings.IndexAny(a, letters)
		switch {
		case hidden:
			redacted[i], hidden = hide(a), false
		case isLong && joined:
			redacted[i] = Redact(name, value).String()
		case isLong:
			redacted[i], hidden = a, secret.MatchString(name)
		case len(a) > 1 && a[0] == '-' && at > 0:
			redacted[i], hidden = a[:at+1], at == len(a)-1
			if !hidden {
				redacted[i] += hide(a[at+1:])
			}
		default:
			redacted[i] = redactValues(a)
		}
	}
	return redacted
}

// hide returns a text without its value, which stands behind the name of a variable if there is one.
func hide(text string) string {
	if name, _, ok := strings.Cut(text, "="); ok {
		return name + "=" + Redacted
	}
	return Redacted
}

// secrets matches what may be a secret in a value: what stands before the @ of a URL, and parameters that sign or open something.
var secrets = regexp.MustCompile(`(?i)(://)[^/?#\s@]*(?:@[^/?#\s@]*)*@|((?:^|[?&;,\s])[^=?&;,\s]*(?:sig|token|key|secret|passw|credential|auth)[^=?&;,\s]*=)[^&;,#\s]*`)

func redactValues(text string) string {
	return secrets.ReplaceAllStringFunc(text, func(match string) string {
		if strings.HasPrefix(match, "://") {
			return "://" + url.PathEscape(Redacted) + "@"
		}
		name, _, _ := strings.Cut(match, "=")
		return name + "=" + Redacted
	})
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
			chunks("executable", c.Program), options("startup options"), chunks("command", c.Command),
			options("command options", c.Options...), chunks("residual", c.Pattern...),
		}})
	}
	return lines
}
