package pages_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"k6x/builder"
	"k6x/internal/chromiumtest"
	"k6x/service"
)

// Expressions over the pages.
const (
	address = "document.getElementById('address')?.textContent"
	outcome = "document.getElementById('build')?.dataset.outcome"
)

func addButton(name string) string { return `[id="x-` + name + `"]` }

// arrived waits for a file in a directory of downloads.
func arrived(t *testing.T, dir string) string {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		if names, _ := filepath.Glob(filepath.Join(dir, "k6*")); len(names) == 1 && !strings.HasSuffix(names[0], ".crdownload") {
			return names[0]
		}
	}
	t.Fatal("nothing was downloaded")
	return ""
}

// A tester picks two extensions, a version and a platform, shares the address, watches the build and runs what was downloaded.
func TestPickWatchDownload(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, nil)
	dir := t.TempDir()
	b.Downloads(dir)
	b.Open(s.URL("/"))
	b.Wait("document.querySelectorAll('.extension').length === 5")
	b.Click("#q")
	b.Keys("hello")
	b.Wait("document.querySelectorAll('.extension').length === 1 && location.search.includes('q=hello')")
	b.Click(addButton("k6/x/hello"))
	b.Wait("document.querySelectorAll('.chosen li').length === 1 && document.querySelector('.extension.is-chosen')")
	if focus := chromiumtest.Eval[string](b, "document.activeElement.id"); focus != "x-k6/x/hello" {
		t.Errorf("the focus is on %q", focus)
	}
	b.Wait("document.getElementById('say').textContent.includes('Added k6/x/hello')")
	chromiumtest.Eval[bool](b, `(() => { const q = document.getElementById("q"); q.value = ""; return q.dispatchEvent(new Event("input", {bubbles: true})); })()`)
	b.Wait("document.querySelectorAll('.extension').length === 5")
	b.Click(addButton("k6/x/world"))
	b.Wait("document.querySelectorAll('.chosen li').length === 2")
	b.Click(`.chip:has([value="windows/amd64"])`)
	b.Wait(address + ".includes('/windows/amd64/k6@v1.1.0,k6/x/hello@v0.1.1,k6/x/world@v0.1.0')")
	b.Click(`.chip:has([value="` + host + `"])`)
	b.Wait(address + ".includes('/" + host + "/')")
	chromiumtest.Eval[bool](b, `(() => { const v = document.getElementById("v-k6/x/hello"); v.value = "k6/x/hello@v0.1.0"; return v.dispatchEvent(new Event("change", {bubbles: true})); })()`)
	b.Wait(address + ".includes('k6/x/hello@v0.1.0,')")
	chosen := chromiumtest.Eval[string](b, "location.href")
	if !strings.Contains(chosen, "with=k6/x/hello@v0.1.0&with=k6/x/world") {
		t.Errorf("the address is %s", chosen)
	}
	b.Accessible("picker with a choice")

	b.Do(chromedp.NavigateBack())
	b.Wait(address + ".includes('k6/x/hello@v0.1.1')")
	b.Do(chromedp.NavigateForward())
	b.Wait(address + ".includes('k6/x/hello@v0.1.0')")
	colleague := chromiumtest.New(t)
	colleague.Open(chosen)
	if got, want := chromiumtest.Eval[string](colleague, address), chromiumtest.Eval[string](b, address); got != want {
		t.Errorf("a colleague sees %s, not %s", got, want)
	}

	b.Click(`.code .copy`)
	b.Wait("document.querySelector('.code .copy').textContent === 'Copied' || document.getElementById('say').textContent.includes('copied')")
	s.hold()
	b.Click("#chosen form.get button")
	b.Wait("document.getElementById('now-bar') && document.querySelector('.log-line .a32')?.textContent === 'green words'")
	b.Accessible("build under way")
	s.open()
	b.Wait(outcome + " === 'built'")
	file := arrived(t, dir)
	b.Accessible("build that ended")
	digest := chromiumtest.Eval[string](b, "document.getElementById('digest').textContent")
	binary, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(binary); hex.EncodeToString(sum[:]) != digest {
		t.Errorf("the file has another digest than %s", digest)
	}
	program := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(program, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "k6/x/hello") || !strings.Contains(string(out), "k6/x/world") {
		t.Errorf("%v: %s", err, out)
	}
	b.Open(chosen)
	if text := chromiumtest.Eval[string](b, "document.getElementById('chosen').innerText"); !strings.Contains(text, digest) || !strings.Contains(text, "Download") {
		t.Errorf("of what is stored the picker says: %s", text)
	}
	for _, path := range []string{"/builds", "/matrix", "/status", "/changes", "/help", "/nothing"} {
		if path == "/nothing" {
			b.Tolerate()
		}
		b.Open(s.URL(path))
		b.Accessible(path)
	}
	b.Clean("the pages")
	colleague.Clean("the shared address")
}

// Of a build that fails the page names the extension and the compiler's words; of a choice that cannot be, what works instead.
func TestFailureAndConflict(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, nil)
	b.Open(s.URL("/?with=k6/x/broken&platform=" + host))
	b.Click("#chosen form.get button")
	b.Wait(outcome + " === 'failed'")
	b.Wait("document.querySelector('.log-lines')?.innerText.includes('fortyTwo')")
	if text := chromiumtest.Eval[string](b, "document.querySelector('#build .notice').innerText"); !strings.Contains(text, "The fault is in k6/x/broken") || !strings.Contains(text, "fortyTwo") {
		t.Errorf("the page says: %s", text)
	}
	b.Accessible("build that failed")
	b.Click(".log-line a")
	b.Wait("location.hash === '#L1' && document.querySelector('.log-line:target')")

	b.Open(s.URL("/?with=k6/x/newer@v0.2.0&k6=v1.0.0&platform=" + host))
	b.Wait("document.querySelector('#trouble .instead a')")
	b.Accessible("conflict")
	b.Click("#trouble .instead a")
	b.Wait("!document.querySelector('#trouble') && " + address + ".includes('k6/x/newer@')")
	b.Clean("failures")
}

// A full queue is told where the choice is, which stays.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, func(s *site) { s.slots = builder.LimitConfig{Slots: 1, Queue: -1} })
	s.hold()
	s.post("/" + host + "/k6@v1.1.0,k6/x/hello@v0.1.1")
	b.Open(s.URL("/?with=k6/x/world&platform=" + host))
	b.Tolerate()
	b.Click("#chosen form.get button")
	b.Wait("document.querySelector('#answer .notice')?.innerText.includes('The service is busy')")
	b.Accessible("queue full")
	if words := b.Overflow(); words != "" {
		t.Error(words)
	}
	s.open()
	b.Wait("document.querySelector('#chosen form.get button').getAttribute('aria-disabled') === null")
	b.Clean("queue full")
}

// Streams that are cut are taken up again; a service that was restarted says that the build was broken off, and builds it again.
func TestCutAndRestart(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, nil)
	b.Tolerate()
	s.hold()
	b.Open(s.URL("/?with=k6/x/hello&platform=" + host))
	b.Click("#chosen form.get button")
	b.Wait("document.getElementById('now-bar')")
	s.cut()
	b.Wait("document.querySelector('.offline')")
	b.Accessible("stream cut")
	b.Wait("!document.querySelector('.offline')")
	s.proxy(true)
	s.cut()
	b.Wait("document.querySelector('.offline')")
	if title := chromiumtest.Eval[string](b, "document.title"); strings.Contains(title, "502") {
		t.Errorf("a page of the proxy is shown: %s", title)
	}
	s.proxy(false)
	b.Wait("!document.querySelector('.offline') && document.getElementById('now-bar')")
	s.stop()
	b.Wait("document.querySelector('.offline')")
	s.open()
	s.start()
	b.Wait(outcome + " === 'aborted' || " + outcome + " === 'built'")
	b.Wait("!document.querySelector('.offline')")
	b.Accessible("service restarted")
	if chromiumtest.Eval[string](b, outcome) == "aborted" {
		b.Click("#build form.get button")
		b.Wait(outcome + " === 'built'")
	}
	b.Clean("restart")
}

// Without JavaScript one picks with a form, starts, downloads, and reads log and status.
func TestWithoutScript(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, nil)
	b.Scripts(false)
	dir := t.TempDir()
	b.Downloads(dir)
	b.Open(s.URL("/"))
	b.Click("#q")
	b.Keys("world" + kb.Enter)
	b.Wait("document.querySelectorAll('.extension').length === 1")
	b.Click(addButton("k6/x/world"))
	b.Wait("document.querySelectorAll('.chosen li').length === 1")
	b.Click(`.chip:has([value="` + host + `"])`)
	b.Click("#chosen noscript button")
	b.Wait("location.search.includes('platform=" + url.QueryEscape(host) + "')")
	b.Accessible("picker without script")
	b.Click("#chosen form.get button")
	b.Wait("location.pathname.includes('/builds/')")
	b.Wait(outcome + " === 'built'") // the page asks for itself again
	b.Click("#build .get a.primary")
	arrived(t, dir)
	b.Open(s.URL("/status"))
	if text := chromiumtest.Eval[string](b, "document.body.innerText"); !strings.Contains(text, "All is well") {
		t.Error(text)
	}
	b.Open(s.URL("/builds"))
	b.Click(".build-name")
	b.Wait(outcome + " === 'built'")
	b.Clean("without script")
}

// All of it is done with the keyboard, and the focus is always seen.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, nil)
	b.Size(1440, 900)
	b.Open(s.URL("/?platform=" + host))
	b.Keys(kb.Tab)
	b.Keys(kb.Enter)
	if focus := chromiumtest.Eval[string](b, "document.activeElement.id"); focus != "main" {
		t.Errorf("the first link goes to %q", focus)
	}
	b.TabTo("#q")
	b.Keys("hello")
	b.Wait("document.querySelectorAll('.extension').length === 1")
	b.TabTo(addButton("k6/x/hello"))
	b.Keys(kb.Enter)
	b.Wait("document.querySelectorAll('.chosen li').length === 1")
	b.TabTo("#k6")
	b.TabTo("[name=platform]")
	b.TabTo("#chosen form.get button")
	b.Keys(kb.Enter)
	b.Wait(outcome + " === 'built'")
	b.TabTo("#build .get a.primary")
	b.Open(s.URL("/?with=k6/x/hello&platform=" + host))
	b.TabTo(".remove")
	b.Keys(kb.Enter)
	b.Wait("document.activeElement.id === 'choice-h'")
	b.Clean("keyboard")
}

// A token is entered once, is kept for the tab, and goes with each request.
func TestToken(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("secret-of-the-tests\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := service.LoadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(s *site) { s.config.Tokens = tokens })
	dir := t.TempDir()
	b.Downloads(dir)
	b.Tolerate()
	b.Open(s.URL("/builds"))
	b.Wait("document.querySelector('#problem form[data-token]')?.offsetParent")
	b.Accessible("token needed")
	b.Click("#problem [name=token]")
	b.Keys("secret-of-the-tests" + kb.Enter)
	b.Wait("document.querySelector('h1').textContent === 'Builds' && document.querySelector('.empty')")
	b.Open(s.URL("/?with=k6/x/hello&platform=" + host))
	b.Wait("document.querySelector('#chosen form.get button')")
	b.Click("#chosen form.get button")
	b.Wait(outcome + " === 'built'")
	arrived(t, dir)
	built := chromiumtest.Eval[string](b, "location.pathname")
	b.Open("http://" + s.addr + built + "/events")
	b.Wait("document.body.innerText.includes('\"type\":\"stored\"')")
	b.Open("http://" + s.addr + built)
	b.Wait(outcome + " === 'built'")
	other := chromiumtest.New(t)
	other.Tolerate()
	other.Open(chromiumtest.Eval[string](b, "location.href"))
	other.Wait("document.querySelector('#problem')")
	b.Clean("token")
}

// A registry of 10,000 entries comes in pages, and is searched as one types.
func TestManyEntries(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, func(s *site) {
		for i := range 10_000 {
			s.registry = append(s.registry, entry{"module": fmt.Sprintf("example.com/xk6-many%d", i), "imports": []string{fmt.Sprintf("k6/x/many%d", i)}, "tier": "community", "description": fmt.Sprintf("Number %d of many.", i), "repo": entry{"stars": i % 500}})
		}
	})
	b.Open(s.URL("/"))
	if n := chromiumtest.Eval[int](b, "document.querySelectorAll('.extension').length"); n > 50 {
		t.Errorf("%d entries at once", n)
	}
	b.Click(".pager a")
	b.Wait("location.search.includes('cursor=')")
	second := chromiumtest.Eval[string](b, "document.querySelector('.extension h3').textContent")
	b.Click(".extension .button")
	b.Wait("document.querySelectorAll('.chosen li').length === 1")
	if got := chromiumtest.Eval[string](b, "document.querySelector('.extension h3').textContent"); got != second {
		t.Errorf("after the first of the second page was added, %s is the first", got)
	}
	b.Click("#q")
	b.Keys("number 9999")
	b.Wait("document.querySelectorAll('.extension').length === 1 && document.querySelector('.extension h3').textContent === 'k6/x/many9999'")
	b.Clean("many entries")
}

// Whatever a registry says, nothing of it runs and nothing breaks out of its place.
func TestHostileRegistry(t *testing.T) {
	t.Parallel()
	b := chromiumtest.New(t)
	s := newSite(t, func(s *site) {
		for i, text := range evil {
			name := fmt.Sprintf("k6/x/evil%d", i)
			s.registry = append(s.registry, entry{"module": fmt.Sprintf("example.com/xk6-evil%d", i), "imports": []string{name, name + "/" + strings.Repeat("long", 40)}, "tier": text, "description": text,
				"versions": []string{"v0.1.0"}, "constraints": text, "repo": entry{"url": "javascript:document.title='owned'", "owner": text, "license": text, "stars": 1 << 62, "timestamp": 1e300}})
		}
	})
	for _, scheme := range []string{"light", "dark"} {
		b.Scheme(scheme)
		for _, query := range []string{"", "?q=evil&with=k6/x/evil0&with=k6/x/evil1@v0.1.0", "?q=" + url.QueryEscape(evil[1]) + "&k6=" + url.QueryEscape(evil[0]) + "&with=" + url.QueryEscape(evil[3]) + "&platform=" + url.QueryEscape(evil[0])} {
			b.Open(s.URL("/" + query))
			for _, width := range []int64{360, 768, 1440} {
				b.Size(width, 900)
				if words := b.Overflow(); words != "" {
					t.Errorf("/%s at %d: %s", query, width, words)
				}
			}
			if title := chromiumtest.Eval[string](b, "document.title"); title == "owned" {
				t.Errorf("/%s: text of a stranger ran", query)
			}
			b.Accessible("hostile registry " + query)
		}
	}
	b.Clean("hostile registry")
}

// Every link of a page leads somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.post("/" + host + "/k6@v1.1.0,k6/x/hello@v0.1.1")
	links := regexp.MustCompile(` href="([^"#]*)`)
	seen := map[string]bool{}
	for todo := []string{basePath + "/"}; len(todo) > 0 && len(seen) < 300; todo = todo[1:] {
		path := todo[0]
		if seen[path] || !strings.HasPrefix(path, basePath+"/") || strings.HasPrefix(path, basePath+"/"+host) {
			continue
		}
		seen[path] = true
		req, _ := http.NewRequest(http.MethodGet, "http://"+s.addr+path, nil)
		req.Header.Set("Accept", "text/html,*/*;q=0.8")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			for _, link := range links.FindAllStringSubmatch(string(body), -1) {
				todo = append(todo, html.UnescapeString(link[1]))
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("links: %v", seen)
	}
}

// The first view, with everything it needs, is small, and all of it but the page is kept for ever.
func TestFirstViewIsSmall(t *testing.T) {
	s := newSite(t, nil)
	get := func(url string) (*http.Response, []byte) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, url, nil)
		req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v", url, resp.Status, err)
		}
		return resp, body
	}
	req, _ := http.NewRequest(http.MethodGet, s.URL("/"), nil)
	req.Header.Set("Accept", "text/html")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	_, small := get(s.URL("/"))
	total := len(small)
	assets := regexp.MustCompile(`"`+basePath+`(/assets/[0-9a-f]+/)([a-z.]+)"`).FindAllStringSubmatch(string(page), -1)
	files, err := os.ReadDir("assets")
	if err != nil || len(assets) < 3 {
		t.Fatalf("%v: %s", err, page)
	}
	for _, file := range files {
		resp, body := get(s.URL(assets[0][1] + file.Name()))
		total += len(body)
		if got := resp.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") || resp.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %v", file.Name(), resp.Header)
		}
	}
	if total > 60_000 {
		t.Errorf("the first view has %d bytes", total)
	}
	t.Logf("the first view has %d bytes", total)
}
