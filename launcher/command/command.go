// Package command reads a k6 command line, as far as a launcher in front of k6 must know it: which
// command it is, which script it takes, which outputs it names. It takes the launcher's own flags
// out of it, and leaves all else as it was typed, for k6.
//
//	k6x run --with k6/x/faker -o top --vus 2 script.js
//	    ├── --with k6/x/faker        the launcher's own
//	    ├── run, script.js, -o top   what the launcher has to know
//	    └── run -o top --vus 2 script.js      for k6
//
// A command line that k6 would refuse is no error here: k6 explains it better.
package command

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"k6x"
)

// Command is a k6 command line.
type Command struct {
	Name       string   // the words that name it, as "run" or "cloud run"; "" if there are none
	Script     string   // the script or archive as typed, "-" is stdin; "" if there is none, or more than one
	Outputs    []string // the values of -o and --out, if it is a command with a script
	Subcommand string   // the NAME of "k6 x NAME"
	Args       []string // the arguments for k6, without the name of the program

	Verbose bool // -v, --verbose
	Quiet   bool // -q, --quiet
	Help    bool // -h, --help; not that of a subcommand of x, which only the extension can give
	Version bool // --version
}

// Parse reads the arguments of k6, without the name of the program, and sets the flags of own that
// are among them; own may be nil. The error is of kind [k6x.Invalid] and is about a flag of own,
// some of which may have been set by then.
//
// Flags of own are recognised by their long names, before and behind the command, up to a "--" and
// up to the NAME of "x NAME", behind which all is the subcommand's. They are not recognised where
// k6 takes a value: in "-e --clean" the second is the value of the first. A value of theirs that
// starts with a dash has to be given as --name=value. A flag --help of own is left to k6.
//
// Which flags of k6 take a value is known up to v1.8 (see [Flags]). One that is not known is taken
// to have a value if a word follows that is not the only one which can be the script, and, before the
// command, if that word is not the name of a command.
func Parse(args []string, own *pflag.FlagSet) (Command, error) {
	p := parser{own: own, left: args, kept: make([]string, 0, len(args))}
	for len(p.left) > 0 {
		var err error
		switch arg := p.left[0]; {
		case arg == "--":
			p.keep()
			if p.cmd.Name != "x" {
				p.words = append(p.words, p.left...)
			}
			p.keepRest()
		case strings.HasPrefix(arg, "--"):
			err = p.long()
		case isFlag(arg):
			err = p.shorts()
		default:
			p.word(p.keep())
		}
		if err != nil {
			return Command{}, err
		}
	}
	p.cmd.Args = p.kept
	switch takesScript := commands[p.cmd.Name].script; {
	case !takesScript:
		p.cmd.Outputs = nil
	case len(p.words) == 0:
		p.cmd.Script = p.guess
	case len(p.words) == 1:
		p.cmd.Script = p.words[0]
	}
	return p.cmd, nil
}

type parser struct {
	own   *pflag.FlagSet
	left  []string // not read yet
	kept  []string // read, for k6
	cmd   Command
	words []string // behind the command, neither flags nor their values
	guess string   // a word behind an unknown flag, which may be its value
}

// keep moves one argument on to k6.
func (p *parser) keep() string {
	arg := p.left[0]
	p.left, p.kept = p.left[1:], append(p.kept, arg)
	return arg
}

func (p *parser) keepRest() {
	p.kept = append(p.kept, p.left...)
	p.left = nil
}

// word takes in a word that is neither a flag nor the value of one.
func (p *parser) word(w string) {
	switch {
	case p.cmd.Name == "":
		p.cmd.Name = w
	case p.cmd.Name == "x":
		if w != "help" {
			p.cmd.Subcommand = w
		}
		p.keepRest()
	case len(p.words) == 0 && p.isSub(w):
		p.cmd.Name += " " + w
	default:
		p.words = append(p.words, w)
	}
}

// isSub reports whether w goes on with the name of the command. "k6 cloud SCRIPT" is an old form;
// a word there that does not look like the name of a file is a command that a newer k6 may have.
func (p *parser) isSub(w string) bool {
	if _, ok := commands[p.cmd.Name+" "+w]; ok {
		return true
	}
	return p.cmd.Name == "cloud" && w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") == ""
}

// long reads an argument that starts with two dashes.
func (p *parser) long() error {
	if f := p.mine(); f != nil {
		return p.take(f)
	}
	name, value, inline := strings.Cut(p.keep()[2:], "=")
	f, known := lookup(p.cmd.Name, func(f Flag) bool { return f.Name == name })
	switch {
	case inline:
	case !known:
		return p.unknown()
	case f.Value:
		if len(p.left) == 0 {
			return nil
		}
		value = p.keep()
	default:
		value = "true"
	}
	p.see(name, value)
	return nil
}

// shorts reads an argument of one-letter flags, of which the last may have a value: -qv, -ojson, -o=json, -o json.
func (p *parser) shorts() error {
	letters := p.keep()[1:]
	for letters != "" {
		f, known := lookup(p.cmd.Name, func(f Flag) bool { return f.Short == letters[:1] })
		letters = letters[1:]
		switch {
		case len(letters) > 1 && letters[0] == '=':
			p.see(f.Name, letters[1:])
			return nil
		case !known && letters == "":
			return p.unknown()
		case !known: // the letters that follow may be its value
			return nil
		case !f.Value:
			p.see(f.Name, "true")
			continue
		case letters != "":
			p.see(f.Name, letters)
		case len(p.left) > 0:
			p.see(f.Name, p.keep())
		}
		return nil
	}
	return nil
}

// unknown decides about the word behind a flag that is not known and has no "=".
func (p *parser) unknown() error {
	for len(p.left) > 0 { // k6 will not see these
		f := p.mine()
		if f == nil {
			break
		}
		if err := p.take(f); err != nil {
			return err
		}
	}
	if len(p.left) == 0 || isFlag(p.left[0]) || p.cmd.Name == "x" {
		return nil
	}
	if p.cmd.Name == "" {
		if _, ok := commands[p.left[0]]; !ok {
			p.keep()
		}
		return nil
	}
	if len(p.words) == 0 && p.isSub(p.left[0]) {
		return nil
	}
	p.guess = p.keep()
	return nil
}

// see takes in a flag of k6.
func (p *parser) see(name, value string) {
	if name == "out" {
		p.cmd.Outputs = append(p.cmd.Outputs, value)
	}
	if on := map[string]*bool{"verbose": &p.cmd.Verbose, "quiet": &p.cmd.Quiet, "help": &p.cmd.Help, "version": &p.cmd.Version}[name]; on != nil {
		*on, _ = strconv.ParseBool(value) // k6 will complain
	}
}

// mine returns the flag of own that the next argument names, or nil.
func (p *parser) mine() *pflag.Flag {
	rest, ok := strings.CutPrefix(p.left[0], "--")
	name, _, _ := strings.Cut(rest, "=")
	if p.own == nil || !ok || name == "" || name == "help" {
		return nil
	}
	return p.own.Lookup(name)
}

// take sets a flag of own from the next argument, and the one behind it if that is its value.
func (p *parser) take(f *pflag.Flag) error {
	_, value, inline := strings.Cut(p.left[0], "=")
	p.left = p.left[1:]
	switch {
	case inline:
	case f.NoOptDefVal != "":
		value = f.NoOptDefVal
	case len(p.left) == 0:
		return k6x.Errorf(k6x.Invalid, "--%s needs a value", f.Name).WithHint("Write --%s=VALUE.", f.Name)
	case isFlag(p.left[0]):
		return k6x.Errorf(k6x.Invalid, "--%s needs a value, and %s looks like a flag", f.Name, p.left[0]).
			WithHint("Write --%s=VALUE.", f.Name)
	default:
		value, p.left = p.left[0], p.left[1:]
	}
	if err := p.own.Set(f.Name, value); err != nil {
		why := err
		if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			why = e.Unwrap()
		}
		if e, ok := errors.AsType[*strconv.NumError](why); ok {
			why = e.Err
		}
		return k6x.Errorf(k6x.Invalid, "--%s cannot be %q: %v", f.Name, value, why).WithCause(err)
	}
	return nil
}

// isFlag reports whether an argument is one or more flags, or ends them.
func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }
