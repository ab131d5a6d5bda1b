package launcher

import (
	"debug/buildinfo"
	"os"
	"slices"
	"strings"

	"k6x"
)

// inspect reads a binary, which is not run, and returns an error of kind k6x.Unavailable unless it is the k6 that was asked
// for: another file, another platform, another version of k6 is refused. The digest does not show that, as the source that is
// wrong has announced it.
func inspect(file *os.File, platform k6x.Platform, pinned k6x.List) error {
	wrong := func(format string, args ...any) error {
		return k6x.Errorf(k6x.Unavailable, "what came is not the k6 that was asked for: "+format, args...).
			WithHint("It was not kept, and not run.")
	}
	info, err := buildinfo.Read(file)
	if err != nil {
		return wrong("it is no Go program")
	}
	made := k6x.Platform{}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS":
			made.OS = s.Value
		case "GOARCH":
			made.Arch = s.Value
		}
	}
	if made != platform {
		return wrong("it is for %s", made)
	}
	version, _ := pinned.Lookup(k6x.K6)
	want := version.Version()
	modules := append(slices.Clone(info.Deps), &info.Main)
	for _, m := range modules {
		if isK6(m.Path) {
			if m.Version != want {
				return wrong("it is k6 %s", m.Version)
			}
			return nil
		}
	}
	return wrong("there is no k6 in it")
}

// isK6 reports whether a module is k6, of any major version.
func isK6(path string) bool {
	const k6 = "go.k6.io/k6"
	return path == k6 || strings.HasPrefix(path, k6+"/v")
}
