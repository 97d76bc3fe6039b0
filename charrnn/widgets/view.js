// What the front ends of all views share: making elements, asking the kernel, and telling what goes on.
// It knows no view. Data becomes text nodes and attributes, never HTML.

/** An HTML element: h("button", { class: "primary", onclick: f, disabled: true }, "Start"). */
function h(tag, given = {}, ...children) {
  return filled(document.createElement(tag), given, children);
}

/** The same in SVG. */
function svg(tag, given = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), given, children);
}

function filled(element, given, children) {
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const part = Math.random().toString(36).slice(2, 8); // every view has this file for itself, all are on one page
let numbered = 0;

/** A name no other element of the page has. */
function unique(name) {
  numbered += 1;
  return `charrnn-${part}-${name}-${numbered}`;
}

/** A labelled control: field("Name", h("input"), "What it will be called"). Its `complain(text)` says what is wrong. */
function field(label, control, hint = "") {
  control.id ||= unique("control");
  const about = h("p", { class: "hint", id: unique("hint") }, hint);
  const wrong = h("p", { class: "wrong", id: unique("wrong"), hidden: true });
  control.setAttribute("aria-describedby", `${about.id} ${wrong.id}`);
  const box = h("div", { class: "field" }, h("label", { for: control.id }, label), control, hint && about, wrong);
  box.complain = (text) => {
    wrong.textContent = text ?? "";
    wrong.hidden = !text;
    text ? control.setAttribute("aria-invalid", "true") : control.removeAttribute("aria-invalid");
  };
  return box;
}

/** What the kernel answered instead of doing what was asked. */
class Refused extends Error {
  constructor({ message, reason, fields }) {
    super(message);
    this.reason = reason;
    this.fields = fields ?? {};
  }
}

/** The kernel behind a widget: `ask(what, with, onPart)` promises its answer; the promise has a `cancel()`. */
function kernelOf(model) {
  const waiting = new Map();
  const own = Math.random().toString(36).slice(2);
  let last = 0;
  const hear = (message) => {
    const asked = waiting.get(message?.answer);
    if (!asked) return;
    if ("part" in message) return asked.onPart?.(message.part);
    waiting.delete(message.answer);
    if (message.error) asked.reject(new Refused(message.error));
    else asked.resolve(message.value);
  };
  model.on("msg:custom", hear);
  return {
    ask(what, given = {}, onPart = undefined) {
      last += 1;
      const number = `${own}-${last}`;
      const promise = new Promise((resolve, reject) => waiting.set(number, { resolve, reject, onPart }));
      model.send({ ask: number, what, with: given });
      promise.cancel = () => model.send({ cancel: number });
      return promise;
    },
    close() {
      for (const number of waiting.keys()) model.send({ cancel: number });
      model.off("msg:custom", hear);
    },
  };
}

/**
 * The render function of a view. `build(page)` makes it, with
 *   page.root           where it goes
 *   page.model          the widget's model, and page.state() what is shown: what Python last said
 *   page.onState(f)     f(state) now and at each change
 *   page.ask(…)         see kernelOf
 *   page.go(place, id)  opens another place of the dashboard
 *   page.say(text)      reads a text to whoever listens instead of looking
 *   page.trouble(error) shows what went wrong above the view; page.trouble(null) hides it
 *   page.during(button, promise)  shows the button as busy until the promise is settled, and its error as trouble
 *   page.onEnd(f)       f() when the view goes
 */
function view(build) {
  return ({ model, el }) => {
    const kernel = kernelOf(model);
    const live = h("div", { class: "unseen", "aria-live": "polite" });
    const kernelTrouble = h("p", { class: "problem", role: "alert", hidden: true });
    const ownTrouble = h("p", { class: "problem", role: "alert", hidden: true });
    const root = h("div", { class: "body" });
    const ends = [];
    el.classList.add("charrnn");
    // What is pressed here is not for JupyterLab, where "b" adds a cell: it asks the very element that has the focus.
    el.addEventListener("focusin", (event) => (event.target.dataset.lmSuppressShortcuts = "true"));
    el.append(kernelTrouble, ownTrouble, root, live);
    const told = (element, text) => {
      element.textContent = text ?? "";
      element.hidden = !text;
    };
    const page = {
      root,
      model,
      ask: kernel.ask,
      state: () => model.get("state") ?? {},
      onState(hear) {
        const changed = () => hear(page.state());
        model.on("change:state", changed);
        ends.push(() => model.off("change:state", changed));
        changed();
      },
      go: (place, id = null) => page.ask("go", { place, id }).catch(page.trouble),
      say(text) {
        live.textContent = "";
        setTimeout(() => (live.textContent = text), 50);
      },
      trouble: (error) => told(ownTrouble, error && (error.message ?? String(error))),
      async during(button, promise) {
        button.setAttribute("aria-busy", "true");
        button.disabled = true;
        page.trouble(null);
        try {
          return await promise;
        } catch (error) {
          page.trouble(error);
          return undefined;
        } finally {
          button.removeAttribute("aria-busy");
          button.disabled = false;
        }
      },
      onEnd: (end) => ends.push(end),
    };
    page.onState((state) => told(kernelTrouble, state.problem));
    build(page);
    return () => {
      ends.forEach((end) => end());
      kernel.close();
    };
  };
}

/** Where our own server serves this page: { base_url, api, xsrf, … }, or null in a notebook. */
function served() {
  const element = document.getElementById("charrnn-page");
  return element ? JSON.parse(element.textContent) : null;
}

// --- how things are written ----------------------------------------------------------------------------------------

/** 1,234,567 */
const number = (value, digits = 0) =>
  Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** 1:05 or 1:02:03, as clocks show it */
function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** How long ago an ISO time was: "just now", "5 minutes ago" … */
function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  const steps = [[60, 1, "second"], [3600, 60, "minute"], [86400, 3600, "hour"], [Infinity, 86400, "day"]];
  const [, unit, name] = steps.find(([limit]) => seconds < limit);
  const count = Math.floor(seconds / unit);
  if (name === "second") return "just now";
  return `${number(count)} ${name}${count === 1 ? "" : "s"} ago`;
}

/** 1.2 kB, 3 MB */
function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  const power = count < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${number(value, power && value < 10 ? 1 : 0)} ${units[power]}`;
}

const NAMES = new Map([
  [" ", "space"], ["\n", "newline"], ["\t", "tab"], ["\r", "return"], ["\u00a0", "hard space"],
  ["\u00ad", "soft hyphen"], ["\u200b", "zero space"], ["\u200d", "joiner"], ["\ufeff", "byte order mark"],
]);

/** A character as something that can be seen: blanks get names, marks a circle to sit on. */
function visible(character) {
  if (NAMES.has(character)) return NAMES.get(character);
  if (/^\p{M}$/u.test(character)) return `\u25cc${character}`;
  if (/^[\p{C}\p{Z}]$/u.test(character)) return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return character;
}

/** A name as a file may bear it: letters, digits and little else, and at its ends nothing that a shell or a folder takes amiss. */
const asFileName = (name, otherwise) =>
  [...name.replace(/[^\p{L}\p{M}\p{N}._ -]+/gu, "-")].slice(0, 80).join("").replace(/^[^\p{L}\p{N}]+|[. -]+$/gu, "") || otherwise;

/** Offer a file for download: its name, its content and its kind. */
function download(name, content, kind = "text/plain;charset=utf-8") {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
