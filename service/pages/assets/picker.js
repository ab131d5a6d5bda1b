// The picker: each change of the choice is a page of its own, of which the regions are put in place.
import { go, onBack, page, reach, say, show, swap } from "./core.js";

let current; // the request under way
let listening = false;

const form = () => document.getElementById("pick");

// address returns the URL of what the controls say.
function address() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form())) {
    if (!value || name === "version" && !value.includes("@")) continue;
    query.append(name, value);
  }
  for (const [name, value] of query.getAll("version").map((item) => ["version", item])) {
    const extension = value.slice(0, value.lastIndexOf("@"));
    const all = query.getAll("with").map((item) => (item === extension ? value : item));
    query.delete("with");
    for (const item of all) query.append("with", item);
    query.delete(name, value);
  }
  const words = readable(query);
  return form().action + (words && `?${words}`);
}

const readable = (query) => query.toString().replaceAll("%2F", "/").replaceAll("%40", "@").replaceAll("%3A", ":");

// withSearch returns an address of a link with what the controls for the search say.
function withSearch(href) {
  const url = new URL(href);
  for (const id of ["q", "kind", "tier", "sort"]) {
    const { value } = document.getElementById(id);
    if (value) url.searchParams.set(id, value);
    else url.searchParams.delete(id);
  }
  url.search = readable(url.searchParams);
  return url.href;
}

let looking; // again, for what takes long to find out

// update shows the picker at another address; of a search, only what it finds.
async function update(url, { how = "push", done, top, found: only } = {}) {
  current?.abort();
  clearTimeout(looking);
  current = new AbortController();
  const { signal } = current;
  const found = document.getElementById("found");
  found.classList.add("is-busy");
  found.setAttribute("aria-busy", "true");
  try {
    const { answer, doc } = await page(only ? `${url}${url.includes("?") ? "&" : "?"}part=found` : url, { signal });
    if (!doc) {
      answer.body?.cancel();
      return reach(false);
    }
    reach(true);
    if (!answer.ok) return show(doc, url);
    if (how === "back") restore(doc);
    else go(how, url);
    swap(doc, only && ["found", "foot"]);
    again();
    if (top) document.getElementById("find-h").scrollIntoView();
    const trouble = document.querySelector("#trouble h3, #trouble p");
    say([done, document.querySelector("#found [data-say]")?.textContent, trouble?.textContent].filter(Boolean).join(". "));
  } catch {
    if (!signal.aborted) reach(false);
  } finally {
    if (!signal.aborted) {
      found.classList.remove("is-busy");
      found.removeAttribute("aria-busy");
    }
  }
}

function again() {
  if (document.querySelector("[data-pending]")) looking = setTimeout(() => form() && update(location.href, { how: "replace" }), 3000);
}

// restore puts the search of an address into its controls.
function restore(doc) {
  for (const id of ["q", "kind", "tier", "sort"]) document.getElementById(id).value = doc.getElementById(id).value;
}

// guess returns the platform of this browser.
async function guess() {
  const agent = navigator.userAgent;
  const os = /Windows/.test(agent) ? "windows" : /Mac OS X/.test(agent) ? "darwin" : "linux";
  let arm = /aarch64|arm64/i.test(agent) || os === "darwin"; // of a Mac only some browsers say
  try {
    const { architecture } = await navigator.userAgentData.getHighEntropyValues(["architecture"]);
    if (architecture) arm = architecture === "arm";
  } catch { /* the browser does not say */ }
  return `${os}/${arm ? "arm64" : "amd64"}`;
}

function listen() {
  let timer;
  addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    clearTimeout(timer);
    timer = setTimeout(() => update(address(), { how: "replace", found: true }), 150);
  });
  addEventListener("change", (event) => {
    if (event.target.form?.id !== "pick" || event.target.id === "q") return;
    clearTimeout(timer);
    update(address());
  });
  addEventListener("submit", (event) => {
    if (event.target.id !== "pick") return;
    event.preventDefault();
    clearTimeout(timer);
    update(address());
  });
  addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    clearTimeout(timer);
    update("top" in link.dataset ? link.href : withSearch(link.href), { done: link.dataset.done, top: "top" in link.dataset });
  });
}

/** picker begins what the page does. */
export async function picker() {
  if (!listening) listen();
  listening = true;
  again();
  onBack(() => update(location.href, { how: "back" }));
  if (new URLSearchParams(location.search).has("platform")) return;
  const chip = document.getElementById(`p-${await guess()}`);
  if (!chip || chip.checked) return;
  chip.checked = true;
  update(address(), { how: "replace" });
}
