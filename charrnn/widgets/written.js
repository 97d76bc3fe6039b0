// What the parts of the writer share: text that grows, controls of sampling, and asking for a stream that can be stopped.

const BLOCK = 2000; // characters after which a text goes on in another block, so that a long one stays quick to show

/** How many characters a text has, as the model counts them. */
const characters = (text) => Array.from(text).length;

/** The beginning of a text, cut between characters. */
const beginning = (text, most) => (text.length <= most ? text : Array.from(text).slice(0, most).join(""));

/** A text with those of its characters marked that are in `unseen`, as nodes. */
function marked(text, unseen) {
  if (!unseen) return [text];
  const strange = new Set(unseen);
  const nodes = [];
  let plain = "";
  for (const character of text) {
    if (strange.has(character)) {
      if (plain) nodes.push(plain);
      plain = "";
      nodes.push(h("span", { class: "strange", title: "never seen in training" }, character));
    } else plain += character;
  }
  if (plain) nodes.push(plain);
  return nodes;
}

/** “a”, “b” and “c”, of at most ten */
function listed(unseen) {
  const all = Array.from(unseen);
  const shown = all.slice(0, 10).map((character) => `\u201c${visible(character)}\u201d`);
  if (all.length > 10) return `${shown.join(", ")} and ${number(all.length - 10)} more`;
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : shown.join("");
}

/** The sentence about characters that the model has never seen; "" if there are none. */
function strangeness(unseen) {
  if (!unseen) return "";
  const one = characters(unseen) === 1;
  return `The model has never seen ${listed(unseen)}: it reads ${one ? "it as an unknown character" : "them as unknown characters"}.`;
}

/** A text that grows after its prompt: `element`, `begin(prompt, unseen)`, `add(piece)`, and `text()` without prompt. */
function growing(label) {
  const element = h("div", { class: "written grows", tabindex: "0", role: "region", "aria-label": label });
  let parts = [];
  let node = null;
  let length = 0;
  const block = () => {
    node = document.createTextNode("");
    length = 0;
    element.append(h("div", { dir: "auto" }, node));
  };
  return {
    element,
    begin(prompt, unseen) {
      parts = [];
      element.replaceChildren();
      block();
      if (prompt) node.before(h("span", { class: "prompt" }, marked(prompt, unseen)));
    },
    add(piece) {
      if (!piece) return;
      parts.push(piece);
      const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
      const cut = length > BLOCK ? piece.indexOf("\n") : -1;
      if (cut >= 0) {
        node.appendData(piece.slice(0, cut));
        block();
      }
      node.appendData(piece.slice(cut + 1));
      length += piece.length;
      if (atEnd) element.scrollTop = element.scrollHeight;
    },
    text: () => parts.join(""),
  };
}

const BOLDNESS = [[0.001, "always the likeliest"], [0.45, "careful"], [0.75, "steady"], [0.95, "lively"], [1.06, "as it has learned"], [1.4, "bold"], [Infinity, "wild"]];

/** How a temperature is called. */
const boldness = (temperature) => BOLDNESS.find(([limit]) => temperature < limit)[1];

/** A slider for the temperature, with its number and a word. `read()`, `set(value)`. */
function temperatureField(changed = () => {}) {
  const input = h("input", { type: "range", min: "0", max: "2", step: "0.05", value: "0.8" });
  const word = h("output", { class: "boldness" });
  const box = field("Temperature", input);
  let value = 0.8; // what is stored may lie between the slider's steps, or beyond its end
  const tell = () => {
    word.textContent = `${number(value, 2)} \u00b7 ${boldness(value)}`;
    input.setAttribute("aria-valuetext", `${number(value, 2)}, ${boldness(value)}`);
  };
  word.htmlFor = input.id;
  const label = box.querySelector("label");
  const line = h("div", { class: "spread label-line" });
  label.replaceWith(line);
  line.append(label, word);
  box.insertBefore(h("div", { class: "scale", "aria-hidden": "true" }, h("span", {}, "careful"), h("span", {}, "wild")), input.nextSibling);
  input.addEventListener("input", () => {
    value = Number(input.value);
    tell();
    changed();
  });
  tell();
  box.read = () => value;
  box.set = (stored) => {
    value = stored;
    input.max = String(Math.max(2, value));
    input.value = String(value);
    tell();
  };
  return box;
}

/** A field for a number; `read()` returns it (null where it is empty and may be), or complains and throws. */
function numberField(label, { least, most, step = 1, value = "", optional = false }, hint = "") {
  const input = h("input", { type: "number", min: least, max: most, step, value: String(value), inputmode: step === 1 ? "numeric" : "decimal" });
  const box = field(label, input, hint);
  const wanted = `${step === 1 ? "a whole number" : "a number"} from ${number(least, least % 1 ? 2 : 0)} to ${number(most)}`;
  box.read = () => {
    box.complain("");
    const text = input.value.trim();
    if (!text && optional && !input.validity.badInput) return null;
    const given = Number(text);
    if (!text || !(given >= least && given <= most) || (step === 1 && !Number.isInteger(given))) {
      box.complain(`Give ${wanted}${optional ? ", or nothing" : ""}.`);
      input.focus();
      throw new Unfit();
    }
    return given;
  };
  box.set = (given) => {
    input.value = given === null || given === undefined ? "" : String(given);
    box.complain("");
  };
  return box;
}

/** Something in a form is not as it should be; the field has said so. */
class Unfit extends Error {}

const newSeed = () => 1 + Math.floor(Math.random() * 999999);

/** A field for what the model goes on from, which tells what the model does not know of it. */
function promptField(page, hint, rows = 4) {
  const input = h("textarea", { rows, dir: "auto", spellcheck: "false", autocapitalize: "off" });
  const box = field("Prompt", input, hint);
  const note = h("p", { class: "hint strange-note", role: "status", hidden: true });
  box.append(note);
  let waiting = 0;
  let last = 0;
  box.tell = (unseen) => {
    note.textContent = strangeness(unseen);
    note.hidden = !unseen;
  };
  const look = async () => {
    const turn = (last += 1);
    if (!input.value) return box.tell("");
    try {
      const unseen = await page.ask("unseen", { text: input.value });
      if (turn === last) box.tell(unseen);
    } catch {
      // whoever writes hears what is wrong
    }
  };
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, 350);
  });
  page.onEnd(() => clearTimeout(waiting));
  box.read = () => input.value;
  box.set = (text) => {
    input.value = text ?? "";
    look();
  };
  box.input = input;
  return box;
}

/**
 * Two buttons in one place, that start and stop a stream, with a line about how it goes and one about what went wrong.
 * `run(what, given, onPart)` resolves to "done", "stopped" or "failed".
 */
function streamer(page, startLabel, stopLabel = "Stop") {
  const start = h("button", { type: "submit", class: "primary" }, startLabel);
  const stop = h("button", { type: "button", class: "stop", hidden: true }, stopLabel);
  const status = h("p", { class: "quiet status", role: "status" });
  const wrong = h("p", { class: "problem", role: "alert", hidden: true });
  let running = null;
  const showing = (on) => {
    const focused = document.activeElement === start || document.activeElement === stop;
    start.hidden = on;
    stop.hidden = !on;
    if (focused) (on ? stop : start).focus();
  };
  const complain = (error) => {
    wrong.textContent = error ? (error.message ?? String(error)) : "";
    wrong.hidden = !error;
  };
  const end = () => running?.end();
  stop.addEventListener("click", end);
  return {
    start, stop, status, wrong, complain, end,
    buttons: h("div", { class: "row" }, start, stop),
    running: () => running !== null,
    run(what, given, onPart) {
      running?.end();
      complain(null);
      showing(true);
      return new Promise((resolve) => {
        const asked = page.ask(what, given, (part) => own === running && onPart(part));
        const settle = (outcome) => {
          if (own !== running) return;
          running = null;
          showing(false);
          resolve(outcome);
        };
        const own = {
          end() {
            asked.cancel();
            settle("stopped");
          },
        };
        running = own;
        asked.then(
          () => settle("done"),
          (error) => {
            if (own === running) complain(error);
            settle("failed");
          },
        );
      });
    },
  };
}

/** Put a text on the clipboard, also where the browser lets only a selection be copied. */
async function toClipboard(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = h("textarea", { value: text, class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("This browser does not let a page copy: select the text and copy it yourself.");
  return undefined;
}

/** A button that copies what `text()` returns, and says so. */
function copyButton(page, text, about = "") {
  const name = h("span", {}, "Copy");
  const button = h("button", { type: "button", class: "plain" }, name, about && h("span", { class: "unseen" }, ` ${about}`));
  button.addEventListener("click", async () => {
    const focused = document.activeElement;
    try {
      await toClipboard(text());
      name.textContent = "Copied";
      page.say("Copied");
      setTimeout(() => (name.textContent = "Copy"), 2000);
    } catch (error) {
      page.trouble(error);
    }
    focused?.focus();
  });
  return button;
}

/** A button that saves what `text()` returns as a file. */
function downloadButton(text, name, about = "") {
  const save = () => download(`${asFileName(name(), "text")}.txt`, text());
  return h("button", { type: "button", class: "plain", onclick: save }, "Download", about && h("span", { class: "unseen" }, ` ${about}`));
}

/** The cards in which `count` texts grow side by side; `title(index)` heads each, if there is anything to say. */
function cards(page, count, title, name) {
  const texts = Array.from({ length: count }, (_, index) => {
    const heading = title(index);
    const text = growing(heading);
    const whole = () => text.prompt + text.text();
    text.card = h(
      "article",
      { class: "text" },
      h("div", { class: "spread head" }, h("h3", {}, heading),
        h("div", { class: "row tools" }, copyButton(page, whole, heading), downloadButton(whole, () => `${name()}${count > 1 ? ` ${index + 1}` : ""}`, heading))),
      text.element,
    );
    return text;
  });
  return {
    texts,
    element: h("div", { class: "texts", "data-count": count }, texts.map((text) => text.card)),
    begin(prompt) {
      for (const text of texts) {
        text.prompt = prompt;
        text.begin(prompt, "");
      }
    },
    take(part, prompt) {
      if (part.unseen) texts.forEach((text) => text.begin(prompt, part.unseen));
      part.texts?.forEach((piece, index) => texts[index].add(piece));
    },
    length: () => texts.reduce((sum, text) => sum + characters(text.text()), 0),
  };
}
