package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// outcomes returns how many attempts ended in which way, once so many built a binary. None has two results.
func outcomes(t *testing.T, s *k6x, built int) map[string]int {
	t.Helper()
	for since := 0; ; since++ { // numbers have no gap
		if a := get(t, fmt.Sprintf("%s/changes?wait=1m&since=%d", s.url, since)); a.status != http.StatusOK || len(a.body) == 0 {
			t.Fatalf("changes: %d %s", a.status, a.text())
		}
		var list struct {
			Builds []struct{ Result struct{ ID, Outcome string } }
		}
		if err := json.Unmarshal(get(t, s.url+"/builds").body, &list); err != nil {
			t.Fatal(err)
		}
		ended, ids := make(map[string]int), make(map[string]bool)
		for _, b := range list.Builds {
			if ended[b.Result.Outcome]++; ids[b.Result.ID] {
				t.Errorf("build %s has two results", b.Result.ID)
			}
			ids[b.Result.ID] = true
		}
		if ended["built"] >= built {
			return ended
		}
	}
}
