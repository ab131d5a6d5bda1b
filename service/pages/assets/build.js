// A build: its events as they come, its log, and the download at the end of it.
import { page, pause, reach, request, say, show, swap, text } from "./core.js";
import { Log } from "./log.js";

const region = () => document.getElementById("build");
const set = (id, words) => {
  const e = document.getElementById(id);
  if (e) e.textContent = words;
};

let strange = 0; // answers in a row that say that there is no such build: another service may not know it yet

// reload renders the page anew. It throws unless the service answers as it should.
async function reload() {
  const { answer, doc } = await page(location.href);
  if (doc && answer.ok) {
    strange = 0;
    return swap(doc);
  }
  if (doc && (answer.status === 401 || answer.status < 500 && answer.status !== 429 && ++strange > 5)) return show(doc);
  answer.body?.cancel().catch(() => {});
  throw new Error(answer.statusText);
}

// events returns those of a stream, one after another, behind the number last.
async function* events(url, last) {
  const answer = await request(url, { headers: { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) } });
  if (!answer.ok) throw Object.assign(new Error(answer.statusText), { status: answer.status });
  reach(true);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").filter((l) => l && !l.startsWith(":")).map((l) => [l.slice(0, l.indexOf(":")), l.slice(l.indexOf(":") + 2)]));
      if (fields.data) yield { ...JSON.parse(fields.data), number: fields.id };
    }
  }
}

function progress(event) {
  set("now-count", event.total ? text("packages", event.done, event.total) : "");
  set("now-item", event.item || "");
  const bar = document.getElementById("now-bar");
  if (bar && event.total) {
    bar.max = event.total;
    bar.value = event.done;
  }
}

// follow shows what happens until the build ends.
async function follow(path) {
  let last, wait = 500;
  for (;;) {
    try {
      for await (const event of events(`${path}/events`, last)) {
        last = event.number;
        wait = 500;
        if (event.type === "stored" || event.type === "failed") return;
        if (event.type === "progress" && document.getElementById("now-bar")) progress(event);
        else if (event.type !== "output") await reload();
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
    }
    // The stream was cut, which says nothing of the build: another service may know more, and this one may be back in a moment.
    reach(false, "lost");
    await pause(wait);
    wait = Math.min(2 * wait, 10000);
    await reload().catch((error) => { if (error.name === "AbortError") throw error; });
    if (region()?.dataset.outcome !== "running") return;
  }
}

async function place() {
  for (;;) { // in the queue, of which events do not tell
    await pause(3000);
    if (region()?.dataset.outcome !== "running") return;
    if (!document.hidden && !document.getElementById("now-bar")) await reload().catch(() => {});
  }
}

function download() {
  if (region()?.dataset.outcome !== "built" || location.hash !== "#get") return false;
  history.replaceState(null, "", location.pathname + location.search);
  say(text("ready"));
  location.assign(region().dataset.download);
  return true;
}

/** build begins what the page does. */
export async function build() {
  const path = location.pathname;
  const log = document.getElementById("log");
  const reading = log && new Log(log, log.dataset.log).read();
  reading?.catch(() => {});
  try {
    if (region().dataset.outcome === "running") {
      place().catch(() => {});
      await follow(path);
      if (!region()) return; // another page is shown
      reach(true);
      for (let tries = 0; tries < 20 && region()?.dataset.outcome === "running"; tries++) { // the result may come a moment after the last event
        if (tries) await pause(250);
        await reload().catch((error) => { if (error.name === "AbortError") throw error; });
      }
      if (!download() && region()?.dataset.outcome !== "running") say(text("ended"));
    } else download();
  } catch (error) {
    if (error.name !== "AbortError") reach(false);
  }
}
