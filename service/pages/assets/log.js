// A log as lines with numbers to link to, and with the colours that tools print. What strangers wrote becomes text, never markup.
import { pause, request, text } from "./core.js";

const most = 5000; // lines that are shown
const escape = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])/g;
const unseen = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** spans returns pieces of text, each with its classes; styles are those that lines before left on. */
export function spans(line, styles) {
  const all = [];
  let from = 0;
  const put = (to) => {
    const words = line.slice(from, to).replace(unseen, "");
    if (words) all.push([words, [...styles].map((n) => `a${n}`).join(" ")]);
  };
  for (const match of line.matchAll(escape)) {
    put(match.index);
    from = match.index + match[0].length;
    if (match[2] !== "m") continue;
    const codes = (match[1] || "0").split(";").map(Number);
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i];
      if (code === 0) styles.clear();
      else if (code === 22) styles.delete(1), styles.delete(2);
      else if (code === 23 || code === 24) styles.delete(code - 20);
      else if (code === 39 || code >= 30 && code <= 37 || code >= 90 && code <= 97) {
        for (const old of [...styles]) if (old >= 30) styles.delete(old);
        if (code !== 39) styles.add(code);
      } else if (code >= 1 && code <= 4) styles.add(code);
      else if (code === 38 || code === 48) i += codes[i + 1] === 5 ? 2 : 4;
    }
  }
  put(line.length);
  return all;
}

export class Log {
  constructor(element, url) {
    Object.assign(this, { element, url, count: 0, rest: "", styles: new Set() });
    element.addEventListener("keydown", (event) => this.move(event));
  }

  // move goes from line to line: the tabulator stops at one of them only.
  move(event) {
    const row = event.target.closest(".log-line");
    const to = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling, Home: this.element.firstElementChild, End: this.element.lastElementChild }[event.key];
    if (!row || !to) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    to.firstElementChild.tabIndex = 0;
    to.firstElementChild.focus();
  }

  async read() {
    for (let tries = 0; tries < 5; tries++) {
      const answer = await request(this.url, { headers: { Accept: "text/plain" } });
      if (answer.ok) {
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        this.restart();
        try {
          for (;;) {
            const { value, done } = await reader.read();
            this.add(done ? this.rest && "\n" : value);
            if (!done) continue;
            if (!this.count) this.note(text("nothing"));
            return this.target();
          }
        } catch (error) {
          if (error.name === "AbortError") throw error;
        }
      } else if (answer.status < 500) {
        this.note(text("logfailed"));
        return;
      }
      await pause(1000 * 2 ** tries);
    }
  }

  restart() {
    this.element.replaceChildren();
    Object.assign(this, { count: 0, rest: "", styles: new Set() });
  }

  note(words) {
    const note = document.getElementById("log-note");
    if (note) {
      note.textContent = words;
      note.hidden = false;
    }
  }

  add(words) {
    if (!words) return;
    const lines = (this.rest + words).replaceAll("\r\n", "\n").split("\n");
    this.rest = lines.pop();
    const batch = document.createDocumentFragment();
    for (const line of lines) batch.append(this.line(line.slice(line.lastIndexOf("\r") + 1)));
    const end = this.element.scrollTop + this.element.clientHeight >= this.element.scrollHeight - 40;
    this.element.hidden = this.count === 0;
    this.element.append(batch);
    while (this.element.childElementCount > most) this.element.firstElementChild.remove();
    if (this.count > most) this.note(text("cut", this.count - most));
    if (end && !location.hash.startsWith("#L")) this.element.scrollTop = this.element.scrollHeight;
  }

  line(words) {
    const number = ++this.count;
    const row = document.createElement("div");
    row.className = "log-line";
    row.id = `L${number}`;
    const link = document.createElement("a");
    link.href = `#L${number}`;
    link.textContent = number;
    link.tabIndex = number === 1 ? 0 : -1;
    link.setAttribute("aria-label", text("line", number));
    const place = document.createElement("span");
    place.className = "text";
    for (const [piece, classes] of spans(words, this.styles)) {
      if (!classes) {
        place.append(piece);
        continue;
      }
      const span = document.createElement("span");
      span.className = classes;
      span.textContent = piece;
      place.append(span);
    }
    row.append(link, place);
    return row;
  }

  // target goes to the line that the address names.
  target() {
    if (/^#L\d+$/.test(location.hash)) {
      const hash = location.hash;
      history.replaceState(null, "", location.pathname + location.search);
      location.replace(hash);
    }
  }
}
