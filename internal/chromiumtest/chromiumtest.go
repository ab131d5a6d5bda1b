// Package chromiumtest drives a Chromium for tests of pages: what users do, what the browser says against a page, what is not accessible on it.
package chromiumtest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chromium is the browser of all tests of a program, which the first of them starts.
var chromium struct {
	sync.Once
	ctx  context.Context
	stop func()
	err  error
}

// Stop ends the browser, if there is one. It is for TestMain.
func Stop() {
	if chromium.stop != nil {
		chromium.stop()
	}
}

// Missing skips a test for what is not installed, unless a variable asks for all tests.
func Missing(t *testing.T, name string) {
	t.Helper()
	if os.Getenv("K6X_TEST_FULL") != "" {
		t.Fatalf("%s is not there", name)
	}
	t.Skipf("SKIPPED: %s is not there; .ci/run runs this", name)
}

// FromNPM returns a file of a package of npm of which the programs are on PATH.
func FromNPM(t *testing.T, file string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if path := filepath.Join(filepath.Dir(dir), filepath.FromSlash(file)); filepath.Base(dir) == ".bin" {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	Missing(t, file+" of npm")
	return ""
}

// Tab is a page of the browser, with what it said against the page.
type Tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex // guards what follows
	said     []string   // violations of the policy, and exceptions
	tolerant bool       // requests may fail

	still bool // JavaScript is off
}

// New opens a tab of its own, with cookies and storage of its own.
func New(t *testing.T) *Tab {
	t.Helper()
	if os.Getenv("K6X_TEST_FULL") == "" {
		t.Skip("SKIPPED: what is done in a browser takes long, and is left to K6X_TEST_FULL=1")
	}
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		Missing(t, "chromium")
	}
	chromium.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.Flag("hide-scrollbars", true),
			chromedp.Flag("ignore-certificate-errors-spki-list", testKey()))
		if os.Getuid() == 0 {
			options = append(options, chromedp.NoSandbox)
		}
		allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, stop := chromedp.NewContext(allocator)
		chromium.ctx, chromium.stop = ctx, func() { stop(); stopAllocator() }
		chromium.err = chromedp.Do(ctx)
	})
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &Tab{t: t, ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		words := ""
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && (e.Entry.Source != log.EntrySourceNetwork || !b.tolerates()) {
				words = e.Entry.Text + " " + e.Entry.URL
			}
		case *runtime.EventExceptionThrown:
			words = e.ExceptionDetails.Text
			if e.ExceptionDetails.Exception != nil {
				words += " " + e.ExceptionDetails.Exception.Description
			}
		}
		if words != "" {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.said = append(b.said, words)
		}
	})
	if err == nil {
		err = chromedp.Do(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	Call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	b.Size(1440, 900)
	return b
}

// testKey names the key of the servers of httptest, which the browser is to trust.
func testKey() string {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	sum := sha256.Sum256(server.Certificate().RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (b *Tab) tolerates() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tolerant
}

// Tolerate has requests that fail be no failure of the test.
func (b *Tab) Tolerate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tolerant = true
}

// Clean fails the test if the browser said something against the page since the last call.
func (b *Tab) Clean(name string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, words := range b.said {
		b.t.Errorf("%s: the browser says: %s", name, words)
	}
	b.said = nil
}

// Do runs actions.
func (b *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// Call calls a command of the browser's protocol.
func Call[P, R any](b *Tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// Eval returns the value of an expression on the page; a promise is waited for.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.300s: %v", expression, err)
	}
	return value
}

// Wait waits until an expression is true, on whatever page.
func (b *Tab) Wait(expression string) {
	b.t.Helper()
	last := error(nil)
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
		value, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		cancel()
		if last = err; value {
			return
		}
	}
	b.t.Fatalf("%s did not come true (%v) on %s: %s", expression, last, Eval[string](b, "location.href"), Eval[string](b, "document.body.innerText.slice(0, 3000)"))
}

// Open goes to a URL and waits until it is loaded.
func (b *Tab) Open(url string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(url))
}

// Size sets that of the window.
func (b *Tab) Size(width, height int64) {
	b.t.Helper()
	b.Do(chromedp.EmulateViewport(width, height))
}

// Scheme chooses light or dark, without anything that moves.
func (b *Tab) Scheme(name string) {
	b.t.Helper()
	Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// Scripts switches JavaScript on or off for what is opened next.
func (b *Tab) Scripts(on bool) {
	b.t.Helper()
	b.still = !on
	Call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// Click clicks what a selector of CSS finds first.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	b.Do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Keys presses keys.
func (b *Tab) Keys(keys string) {
	b.t.Helper()
	b.Do(chromedp.KeyEvent(keys))
}

// TabTo moves the focus on by the tabulator until it is at what a selector finds.
func (b *Tab) TabTo(selector string) {
	b.t.Helper()
	for range 200 {
		b.Keys(kb.Tab)
		if Eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			if !Eval[bool](b, "(() => { const e = document.activeElement, r = e.getBoundingClientRect(); const s = getComputedStyle(e.closest('.chip') || e); return s.outlineStyle !== 'none' && r.bottom > 0 && r.top < innerHeight })()") {
				b.t.Errorf("%s has the focus, which is not seen", selector)
			}
			return
		}
	}
	b.t.Fatalf("the tabulator does not get to %s", selector)
}

// Downloads has files be kept in a directory.
func (b *Tab) Downloads(dir string) {
	b.t.Helper()
	id := chromedp.FromContext(b.ctx).BrowserContextID
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if _, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: "allow", BrowserContextID: id, DownloadPath: dir}); err != nil {
		b.t.Fatal(err)
	}
}

// Overflow returns what sticks out of a page that should scroll up and down only.
func (b *Tab) Overflow() string {
	b.t.Helper()
	return Eval[string](b, `(() => {
		const width = document.documentElement.clientWidth, all = [];
		if (document.documentElement.scrollWidth > width) all.push("the page is " + document.documentElement.scrollWidth + " wide");
		for (const e of document.querySelectorAll("body *")) {
			const r = e.getBoundingClientRect();
			if (!r.width || !r.height || r.right <= width + 1 && r.left >= -1 || e.closest(".scroll, .unseen, .skip") || getComputedStyle(e).position === "absolute") continue;
			let p = e.parentElement;
			while (p && getComputedStyle(p).overflowX === "visible") p = p.parentElement;
			if (p && p !== document.body && p !== document.documentElement) continue;
			all.push(e.tagName + "." + e.className + " " + Math.round(r.left) + "–" + Math.round(r.right));
		}
		return all.slice(0, 5).join("; ");
	})()`)
}

// Accessible fails the test with what axe finds on the page; by the rules that are named, or by all.
func (b *Tab) Accessible(name string, rules ...string) {
	b.t.Helper()
	if b.still {
		b.Scripts(true) // for axe; those of the page are not run any more
		defer b.Scripts(false)
	}
	if !Eval[bool](b, "typeof window.axe === 'object'") {
		axe, err := os.ReadFile(FromNPM(b.t, "axe-core/axe.min.js"))
		if err != nil {
			b.t.Fatal(err)
		}
		Eval[chromedp.Void](b, string(axe)+";null")
	}
	options := `{resultTypes: ["violations"], rules: {"target-size": {enabled: true}}, preload: false}`
	if rules != nil {
		options = `{preload: false, resultTypes: ["violations"], runOnly: "` + strings.Join(rules, `,`) + `".split(",")}`
	}
	found := Eval[[]string](b, "axe.run(document, "+options+`).then((r) => r.violations.flatMap((v) => v.nodes.slice(0, 3).map((n) =>
		v.id + " (" + v.help + "): " + n.html.slice(0, 200) + " " + n.any.concat(n.all, n.none).map((c) => c.message).join("; "))))`)
	for _, words := range found {
		b.t.Errorf("%s: axe: %s", name, words)
	}
}

// Shot keeps a picture of the page, all of it or what is seen first.
func (b *Tab) Shot(path string, all bool) {
	b.t.Helper()
	params := page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng}
	if all {
		beyond := true
		metrics := Call(b, page.GetLayoutMetrics, cdp.Empty{})
		size := metrics.CSSContentSize
		params.CaptureBeyondViewport = &beyond
		params.Clip = &page.Viewport{Width: size.Width, Height: min(size.Height, 6000), Scale: 1}
	}
	picture := Call(b, page.CaptureScreenshot, params)
	if err := os.WriteFile(path, []byte(picture.Data), 0o644); err != nil {
		b.t.Fatal(err)
	}
}
