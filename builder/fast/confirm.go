package fast

import (
	"context"
	"errors"

	"k6x"
)

// confirm has the go command build what was made with packages that were compiled here, and compares. It reports whether
// the go command has made the same, which then is in the workspace. If it has not, the suspects are left to it from now on.
func (e *Engine) confirm(ctx context.Context, b *build) bool {
	same, err := e.sameByGoBuild(ctx, b)
	if ctx.Err() != nil {
		return false
	}
	refused := k6x.KindOf(err).Lasting() || k6x.KindOf(err) == k6x.Invalid // the go command would not have made it at all
	if err != nil && (!refused || k6x.AsError(err).Limit != (k6x.Limit{})) {
		e.log.Warn("a binary cannot be compared with that of the go command", "path", b.recipe.Path(), "error", err)
		return false
	}
	b.unconfirmed = false
	if !same {
		e.wrong.Add(1)
		files, failed := e.indexes.refute(b.suspects...)
		e.log.Error("a binary that was answered is not what the go command makes, so modules are left to it from now on; remove the files to try again",
			"path", b.recipe.Path(), "key", b.recipe.Key(), "modules", b.suspects, "files", files, "error", errors.Join(err, failed))
	}
	return same
}

// sameByGoBuild has the go command make the binary, and compares.
func (e *Engine) sameByGoBuild(ctx context.Context, b *build) (bool, error) {
	if err := b.ws.Reset(); err != nil {
		return false, err
	}
	if err := b.ws.GoBuild(ctx); err != nil {
		return false, err
	}
	return b.is(ctx, b.ws.Output())
}
