package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x/internal/chromiumtest"
)

// A tester opens the service in a browser, presses a button, and has the real k6 with what was picked.
func TestPickedInABrowser(t *testing.T) {
	b := chromiumtest.New(t)
	s := start(t, warmDir(t))
	dir := t.TempDir()
	b.Downloads(dir)
	b.Open(s.url + "/?with=k6/x/redis@v0.3.6&k6=v1.8.1&platform=" + strings.Trim(host, "/"))
	b.Click("#chosen form.get button")
	b.Wait("document.getElementById('build')?.dataset.outcome === 'built'")
	file := filepath.Join(dir, "k6")
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			break
		} else if time.Since(begun) > time.Minute {
			t.Fatal(err)
		}
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out := run(t, binary, "version"); !strings.Contains(out, "k6 v1.8.1") || !strings.Contains(out, "xk6-redis v0.3.6") {
		t.Errorf("k6 version: %s", out)
	}
	b.Open(s.url + "/status")
	b.Wait("document.body.innerText.includes('Slots of this service')")
	b.Clean("the pages")
}
