// Fetching pages, putting regions in place, saying what happened, copying, tokens.
const body = document.body;
const texts = JSON.parse(body.dataset.texts);
const base = body.dataset.base;
let pages = {};
let leave = new AbortController(); // aborted when the page that is shown makes room for another one

export const boot = (all) => { pages = all; };

/** text returns a text with arguments in it. */
export const text = (key, ...args) => texts[key].replace(/%[sd]/g, () => args.shift());

/** say tells users of screen readers. */
export function say(words) {
  const place = document.getElementById("say");
  place.textContent = "";
  setTimeout(() => { place.textContent = words; }, 50);
}

const storageKey = `k6x-token:${base}`;
const token = () => { try { return sessionStorage.getItem(storageKey); } catch { return null; } };

/** request fetches with the token of the tab, if there is one. */
export function request(url, options = {}) {
  const headers = { Accept: "text/html", ...options.headers };
  const secret = token();
  if (secret) headers.Authorization = `Bearer ${secret}`;
  return fetch(url, { signal: leave.signal, cache: "no-store", ...options, headers });
}

/** page fetches a page; the answer may be one that tells of an error. */
export async function page(url, options) {
  const answer = await request(url, options);
  if (!(answer.headers.get("Content-Type") || "").startsWith("text/html")) return { answer, doc: null };
  const doc = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { answer, doc: doc.body.dataset.page ? doc : null }; // a proxy has pages of its own
}

const was = new WeakMap(); // what the server rendered, by region
const name = (e) => e.id || e.getAttribute("href") || e.textContent;

/** swap puts the regions of another rendering of this page in place; if some are named, those only. What had the focus has it afterwards, if it is still there. */
export function swap(doc, only) {
  const active = document.activeElement;
  const inside = active?.closest("[data-region]");
  document.title = doc.title;
  for (const region of document.querySelectorAll("[data-region]")) {
    const fresh = doc.getElementById(region.id);
    if (!fresh || only && !only.includes(region.id) || fresh.innerHTML === was.get(region)) continue;
    const open = new Map([...region.querySelectorAll("details[data-keep]")].map((d) => [d.dataset.keep, d.open]));
    const scroll = region.closest(".choice")?.scrollTop;
    was.set(region, fresh.innerHTML);
    for (const a of fresh.attributes) if (a.name.startsWith("data-")) region.setAttribute(a.name, a.value);
    region.replaceChildren(...document.adoptNode(fresh).childNodes);
    for (const d of region.querySelectorAll("details[data-keep]")) if (open.has(d.dataset.keep)) d.open = open.get(d.dataset.keep);
    if (scroll !== undefined) region.closest(".choice").scrollTop = scroll;
    dress(region);
  }
  if (inside && !active.isConnected) {
    const again = [...inside.querySelectorAll("a, button, input, select, summary, [tabindex]")].find((e) => name(e) === name(active));
    (again || inside.closest("section")?.querySelector("h2[tabindex]"))?.focus({ preventScroll: true });
  }
}

let here = location.pathname + location.search; // of the page that is shown
let back = () => location.reload();

/** go notes that another address is shown: "push" or "replace" in the history. */
export function go(how, url) {
  history[`${how}State`](null, "", url);
  here = location.pathname + location.search;
}

/** onBack has a function show the page of the history that the browser went to. */
export const onBack = (f) => { back = f; };

addEventListener("popstate", () => { // also if only the fragment is another one
  if (here === location.pathname + location.search) return;
  here = location.pathname + location.search;
  back();
});

/** show puts all of another page, which is one of the service, in place of this one. */
export function show(doc, url) {
  leave.abort();
  leave = new AbortController();
  document.title = doc.title;
  body.dataset.page = doc.body.dataset.page;
  document.querySelector("main").replaceWith(document.adoptNode(doc.querySelector("main")));
  for (const part of [".top", ".bottom"]) document.querySelector(part).replaceWith(document.adoptNode(doc.querySelector(part)));
  if (url && url !== location.href) go("push", url);
  back = () => location.reload();
  start();
  document.getElementById("main").focus({ preventScroll: true });
}

// dress brings to life what works with a script only.
function dress(root) {
  for (const e of root.querySelectorAll("[data-script]")) e.hidden = false;
  for (const e of root.querySelectorAll("[data-elapsed]")) e.dataset.from = performance.now() - 1000 * Number(e.dataset.elapsed);
  tick();
}

function tick() {
  for (const e of document.querySelectorAll("[data-from]")) {
    const s = Math.floor((performance.now() - e.dataset.from) / 1000);
    e.textContent = s < 60 ? text("seconds", s) : text("minutes", Math.floor(s / 60), s % 60);
  }
}

let lost = false; // the service does not answer
/** reach tells whether the service answers. */
export function reach(works, words = "failed") {
  if (works !== lost) return;
  lost = !works;
  document.querySelector(".offline")?.remove();
  if (works) return say(text("back"));
  const note = document.createElement("p");
  note.className = "offline";
  note.setAttribute("role", "alert");
  document.querySelector(".top").after(note);
  note.textContent = text(words);
}

/** pause waits, unless the page is left. */
export const pause = (ms) => new Promise((resolve, reject) => {
  const { signal } = leave;
  const left = () => { clearTimeout(timer); reject(signal.reason); };
  const timer = setTimeout(() => { signal.removeEventListener("abort", left); resolve(); }, ms);
  signal.addEventListener("abort", left);
});

// refresh fetches the page every few seconds, while it is seen and nobody stopped that.
async function refresh() {
  const region = document.querySelector("[data-refresh]");
  if (!region) return;
  let wait = 1000 * region.dataset.refresh;
  for (;;) {
    await pause(wait);
    if (document.hidden || body.dataset.paused || !getSelection().isCollapsed) continue;
    try {
      const { answer, doc } = await page(location.href);
      if (leave.signal.aborted) return;
      if (doc && answer.ok) swap(doc);
      if (answer.status === 401 && doc) return show(doc);
      reach(answer.ok);
      wait = 1000 * region.dataset.refresh;
    } catch (error) {
      if (leave.signal.aborted) return;
      reach(false);
      wait = Math.min(2 * wait, 30000);
    }
  }
}

async function copy(button) {
  const words = document.getElementById(button.dataset.copy).textContent;
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(words);
    else copyOld(words);
    button.textContent = text("copied");
    say(text("copied"));
    setTimeout(() => { button.textContent = button.dataset.words; }, 2000);
  } catch {
    say(text("copyfailed"));
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
  }
}

// copyOld is for pages that come without TLS, which have no clipboard.
function copyOld(words) {
  const field = document.createElement("textarea");
  const focus = document.activeElement;
  field.value = words;
  body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focus?.focus();
  if (!done) throw new Error("no clipboard");
}

// send posts a form and shows what comes of it: a build to watch, a binary, or what is wrong.
async function send(form) {
  const button = form.querySelector("button");
  if (button.getAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true");
  say(form.dataset.get);
  try {
    const { answer, doc } = await page(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    reach(true);
    if (!doc && answer.ok) {
      answer.body.cancel();
      location.assign(answer.url); // a binary that is there already
    } else if (!doc) reach(false);
    else if (doc && answer.ok && answer.redirected) {
      const url = `${answer.url}#get`;
      if (token()) show(doc, url);
      else location.assign(url);
    } else if (doc && answer.status === 401) show(doc);
    else if (doc) {
      const problem = doc.getElementById("problem");
      const heading = problem.querySelector("h1");
      const title = document.createElement("h3");
      title.textContent = heading.textContent;
      heading.remove();
      const notice = problem.querySelector(".notice");
      notice.prepend(title);
      document.getElementById("answer").replaceChildren(document.adoptNode(notice));
    }
  } catch {
    // The service is gone; or a binary that is there already is in a bucket, which a script may not fetch: the page has a link to it then.
    if (!leave.signal.aborted) await page(location.href).then(({ answer, doc }) => { reach(Boolean(doc)); if (doc && answer.ok) swap(doc); }, () => reach(false));
  }
  button.removeAttribute("aria-disabled");
}

/** start begins what a page does by itself. */
export function start() {
  for (const region of document.querySelectorAll("[data-region]")) was.set(region, region.innerHTML);
  dress(document);
  const quiet = () => {};
  if (token() && document.querySelector("main form[data-token]")) retry().catch(quiet);
  refresh().catch(quiet);
  pages[body.dataset.page]?.();
}

let tried; // token with which the page was asked for
async function retry() {
  if (tried === token()) return;
  tried = token();
  const { answer, doc } = await page(location.href);
  if (doc) show(doc);
  else if (answer.ok) location.replace(URL.createObjectURL(new Blob([await answer.blob()], { type: "text/plain;charset=utf-8" }))); // a log, or JSON
}

setInterval(tick, 1000);
addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copy) {
    button.dataset.words ??= button.textContent;
    copy(button);
  } else if (button && "pause" in button.dataset) {
    if (body.dataset.paused) delete body.dataset.paused;
    else body.dataset.paused = "yes";
    button.textContent = text(body.dataset.paused ? "resume" : "pause");
  }
});
addEventListener("submit", (event) => {
  const form = event.target;
  if ("send" in form.dataset) {
    event.preventDefault();
    send(form);
  } else if ("token" in form.dataset) {
    event.preventDefault();
    sessionStorage.setItem(storageKey, new FormData(form).get("token"));
    form.reset();
    form.closest("details")?.removeAttribute("open");
    tried = undefined;
    retry().catch(() => reach(false));
  }
});
