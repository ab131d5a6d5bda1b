package k6x_test

import (
	"testing"

	"k6x"
)

func TestLimitsExceedOnlyALowerOne(t *testing.T) {
	here := k6x.Limits{k6x.LimitMemory: 4 << 30, k6x.LimitCPU: 60}
	for _, c := range []struct {
		limit k6x.Limit
		want  bool
	}{
		{k6x.Limit{}, false},
		{k6x.Limit{Name: k6x.LimitMemory, Value: 4<<30 - 1}, true},
		{k6x.Limit{Name: k6x.LimitMemory, Value: 4 << 30}, false},
		{k6x.Limit{Name: k6x.LimitMemory, Value: 8 << 30}, false},
		{k6x.Limit{Name: k6x.LimitCPU, Value: 59}, true},
		{k6x.Limit{Name: k6x.LimitFiles, Value: 1}, true}, // not limited here
	} {
		if got := here.Exceed(c.limit); got != c.want {
			t.Errorf("%+v exceed %+v: %t, want %t", here, c.limit, got, c.want)
		}
	}
	if (k6x.Limits)(nil).Exceed(k6x.Limit{}) {
		t.Error("who did not run into a limit has more where there is none")
	}
}
