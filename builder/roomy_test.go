package builder

import (
	"context"
	"testing"

	"k6x"
)

func TestWhatADiskHadNoRoomForIsTriedOnceMore(t *testing.T) {
	full, broken := k6x.Errorf(k6x.NoSpace, "full"), k6x.Errorf(k6x.BuildFailed, "broken")
	for name, c := range map[string]struct {
		fails []error // of the attempts
		room  bool    // there is something to remove
		want  error
		made  int // times that room was made
	}{
		"there is room then":      {[]error{full}, true, nil, 1},
		"there is none then":      {[]error{full, full, full}, true, full, 1},
		"nothing can be removed":  {[]error{full}, false, full, 1},
		"it fails otherwise":      {[]error{broken}, true, broken, 0},
		"it fails otherwise then": {[]error{full, broken}, true, broken, 1},
		"nothing is wrong":        {nil, true, nil, 0},
	} {
		made := 0
		next := builderFunc(func(context.Context, Job) (k6x.Artifact, error) {
			if len(c.fails) == 0 {
				return k6x.Artifact{}, nil
			}
			err := c.fails[0]
			c.fails = c.fails[1:]
			return k6x.Artifact{}, err
		})
		_, err := Roomy(next, func(_ context.Context, err error) bool { made++; return c.room && err == full }).Build(t.Context(), job("", "v1.0.0"))
		if err != c.want || made != c.made {
			t.Errorf("%s: got %v, room was made %d times", name, err, made)
		}
	}
}
