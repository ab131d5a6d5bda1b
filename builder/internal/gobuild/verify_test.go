package gobuild

import (
	"os"
	"runtime/debug"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
)

// goodBinary returns what a binary says of itself that is what standinBlame asks for.
func goodBinary() *debug.BuildInfo {
	return &debug.BuildInfo{
		GoVersion: "go1.26.8", Path: "k6", Main: debug.Module{Path: "k6"},
		Deps: []*debug.Module{
			{Path: "example.com/greeting", Version: "v1.0.0"},
			{Path: "example.com/xk6-world", Version: "v0.1.0"},
			{Path: "go.k6.io/k6", Version: "v1.0.0"},
		},
		Settings: []debug.BuildSetting{
			{Key: "-buildmode", Value: "exe"}, {Key: "-trimpath", Value: "true"}, {Key: "CGO_ENABLED", Value: "0"},
			{Key: "GOARCH", Value: "amd64"}, {Key: "GOOS", Value: "linux"},
		},
	}
}

func TestVerifyTakesOnlyWhatWasAskedFor(t *testing.T) {
	b := standinBlame()
	check := func(info *debug.BuildInfo) error {
		if err := checkProgram(info, b.recipe); err != nil {
			return err
		}
		return b.checkModules(info)
	}
	if err := check(goodBinary()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*debug.BuildInfo)
		kind   k6x.Kind
	}{
		"another program":           {func(i *debug.BuildInfo) { i.Path = "example.com/other" }, k6x.Internal},
		"another main module":       {func(i *debug.BuildInfo) { i.Main.Path = "other" }, k6x.Internal},
		"another toolchain":         {func(i *debug.BuildInfo) { i.GoVersion = "go1.26.7" }, k6x.Internal},
		"another platform":          {func(i *debug.BuildInfo) { i.Settings[4].Value = "darwin" }, k6x.Internal},
		"another architecture":      {func(i *debug.BuildInfo) { i.Settings[3].Value = "arm64" }, k6x.Internal},
		"cgo":                       {func(i *debug.BuildInfo) { i.Settings[2].Value = "1" }, k6x.Internal},
		"paths of the machine":      {func(i *debug.BuildInfo) { i.Settings[1].Key = "-other" }, k6x.Internal},
		"an extension is missing":   {func(i *debug.BuildInfo) { i.Deps = i.Deps[2:] }, k6x.Internal},
		"k6 is missing":             {func(i *debug.BuildInfo) { i.Deps = i.Deps[:2] }, k6x.Internal},
		"an extension is replaced":  {func(i *debug.BuildInfo) { i.Deps[1].Replace = &debug.Module{Path: "../fork"} }, k6x.Internal},
		"another version of k6":     {func(i *debug.BuildInfo) { i.Deps[2].Version = "v1.1.0" }, k6x.Conflict},
		"another extension version": {func(i *debug.BuildInfo) { i.Deps[1].Version = "v0.1.1" }, k6x.Conflict},
		"another major of k6":       {func(i *debug.BuildInfo) { i.Deps[0].Path = "go.k6.io/k6/v2" }, k6x.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			info := goodBinary()
			c.change(info)
			if err := check(info); err == nil || k6x.KindOf(err) != c.kind {
				t.Errorf("got %v, want kind %v", err, c.kind)
			}
		})
	}
}

func TestInspectRefusesWhatIsNoBinaryOrAnother(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"this test": self, "no binary": "verify_test.go", "nothing": "missing"} {
		if _, err := standinBlame().Inspect(file, nil); k6x.KindOf(err) != k6x.Internal || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckPinnedRefusesAVersionThatNoGoModNames(t *testing.T) {
	b := standinBlame()
	info := goodBinary()
	if err := b.checkPinned(info, nil); err != nil {
		t.Fatal(err)
	}
	raised := []module.Version{{Path: "example.com/greeting", Version: "v1.1.0"}}
	if err := b.checkPinned(info, raised); k6x.KindOf(err) != k6x.BuildFailed {
		t.Errorf("a requirement that nobody made: %v", err)
	}
	info.Deps[0].Version = "v1.1.0"
	if err := b.checkPinned(info, nil); k6x.KindOf(err) != k6x.BuildFailed {
		t.Errorf("a module that nobody required is linked in: %v", err)
	}
}
