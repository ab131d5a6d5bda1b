package cli

import "testing"

func TestPercent(t *testing.T) {
	for text, want := range map[string]Percent{"5": 5, "5%": 5, "0": 0, "0.5%": 0.5, "100%": 100} {
		var p Percent
		if err := p.Set(text); err != nil || p != want {
			t.Error(text, p, err)
		}
	}
	for _, text := range []string{"", "%", "-1", "101", "NaN", "5%%", "5 percent"} {
		var p Percent
		if err := p.Set(text); err == nil {
			t.Error(text, p)
		}
	}
}
