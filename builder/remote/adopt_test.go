package remote

import (
	"testing"

	"k6x"
	"k6x/builder"
)

func TestABuildIsNotAdoptedForOtherVersions(t *testing.T) {
	first, second := &k6x.Lock{GoMod: "module k6"}, &k6x.Lock{GoMod: "module k6 // of another record"}
	for _, c := range []struct {
		with, asked *k6x.Lock
		want        bool
	}{{nil, nil, true}, {first, first, true}, {nil, first, false}, {first, nil, false}, {first, second, false}} {
		j := newWork(&Worker{}, order{Job: &builder.Job{Lock: c.with}})
		canceled := false
		j.alone, j.cancel = true, func(error) { canceled = true }
		if got := j.adopt(order{Job: &builder.Job{Lock: c.asked}}); got != c.want || canceled == c.want {
			t.Errorf("built with %v, asked for %v: adopted %v, canceled %v", c.with, c.asked, got, canceled)
		}
	}
}
