package builder

import "context"

// Progress is how far an engine is with a build.
type Progress struct {
	Step  Step
	What  string // the module, package or layer that it is at; "" if there is none to name
	Done  int64  // modules, packages or bytes
	Total int64  // 0: not known
}

// Step is what goes on in a build.
type Step int

// The steps of a build. An engine passes over those that it does not need.
const (
	Preparing Step = iota
	Pulling        // of the image to build in: bytes
	Fetching       // of modules
	Compiling      // of packages
	Linking
)

func (s Step) String() string {
	return [...]string{"preparing", "pulling", "fetching", "compiling", "linking"}[s]
}

// WithProgress returns a ctx whose builds call report as they go on, one call at a time. It
// must return soon.
func WithProgress(ctx context.Context, report func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// Report tells whoever watches the builds of ctx, if anybody does.
func Report(ctx context.Context, p Progress) {
	if report, ok := ctx.Value(progressKey{}).(func(Progress)); ok {
		report(p)
	}
}

// Watched reports whether anybody watches the builds of ctx.
func Watched(ctx context.Context) bool {
	_, ok := ctx.Value(progressKey{}).(func(Progress))
	return ok
}

type progressKey struct{}
