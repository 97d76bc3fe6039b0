// Surprise: a text in which each character is coloured, and underlined, by how little the model expected it.

// probabilities from which on a character has a level, and what the legend says of it
const LEVELS = [[0.8, "80 % or more"], [0.5, "50 to 80 %"], [0.2, "20 to 50 %"], [0.05, "5 to 20 %"], [0.01, "1 to 5 %"], [0, "under 1 %"]];

const percent = (probability) =>
  probability < 0.0001 ? "less than 0.01 %" : `${number(100 * probability, probability < 0.1 ? 2 : 0)} %`;

function surprisePanel(page, shared) {
  const text = h("textarea", { rows: 4, dir: "auto", spellcheck: "false" });
  const box = field("Text", text, "Any text of up to 5,000 characters: what the model wrote, what you wrote, another author.");
  const look = h("button", { type: "submit", class: "primary" }, "Show the surprise");
  const own = h("button", { type: "button", onclick: () => fill(true) }, "Take what it wrote");
  const figures = h("dl", { class: "figures" });
  const readout = h("p", { class: "readout", role: "status" });
  const shown = h("div", { class: "written surprise", dir: "auto", tabindex: "0", role: "group", "aria-label": "The text, character by character. Arrow keys walk through it." });
  const legend = h("ul", { class: "legend", "aria-label": "How probable the model held a character" },
    LEVELS.map(([, name], level) => h("li", {}, h("span", { class: "sample", "data-level": level, "aria-hidden": "true" }, "a"), name)));
  const about = h("p", { class: "hint strange-note", hidden: true });
  const result = h("div", { class: "result", hidden: true }, figures, about, legend, readout, shown);
  const wrong = h("p", { class: "problem", role: "alert", hidden: true });
  const usual = "Point at a character, or walk with the arrow keys, to see what the model gave it.";
  let filled = "";
  let scored = [];
  let spans = [];
  let at = -1;

  function fill(always) {
    if (!always && text.value !== filled) return;
    if (!shared.written()) return;
    text.value = filled = beginning(shared.written(), 1500);
  }

  async function ask(event) {
    event.preventDefault();
    wrong.hidden = true;
    look.setAttribute("aria-busy", "true");
    try {
      show(await page.ask("surprise", { text: text.value }));
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
      box.complain(error.fields?.text ? error.message : "");
      result.hidden = true;
    } finally {
      look.removeAttribute("aria-busy");
    }
  }

  function show({ text: read, nats, mean, bits, perplexity, unseen, unknown }) {
    box.complain("");
    scored = Array.from(read).map((character, index) => ({ character, nats: nats[index], strange: index > 0 && nats[index] === null }));
    spans = scored.map(({ character, nats: cost, strange }, index) =>
      h("span", { "data-index": index, "data-level": cost === null ? null : LEVELS.findIndex(([least]) => Math.exp(-cost) >= least), class: strange ? "strange" : null },
        character === "\n" ? [h("span", { class: "end", "aria-hidden": "true" }, "\u21b5"), "\n"] : character));
    shown.replaceChildren(...spans);
    const figure = (name, value, hint) => h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", { class: "hint" }, hint));
    figures.replaceChildren(
      ...(mean === null ? [] : [
        figure("Nats per character", number(mean, 3), "lower is better known"),
        figure("Bits per character", number(bits, 3), "the same in bits"),
        figure("Perplexity", number(perplexity, perplexity < 100 ? 1 : 0), `as unsure as among ${number(Math.max(1, Math.round(perplexity)))} equal characters`),
      ]),
    );
    about.textContent = unseen ? `${strangeness(unseen)} ${unknown ? "Underlined with a wave, and not counted." : ""}` : "";
    about.hidden = !unseen;
    at = -1;
    readout.textContent = usual;
    result.hidden = false;
    page.say(mean === null ? "No character could be scored" : `${number(mean, 3)} nats per character`);
  }

  function point(index) {
    if (!spans[index]) return;
    spans[at]?.classList.remove("pointed");
    at = index;
    spans[at].classList.add("pointed");
    const { character, nats, strange } = scored[index];
    const name = `\u201c${visible(character)}\u201d`;
    if (strange) readout.textContent = `${name}: the model has never seen this character.`;
    else if (nats === null) readout.textContent = `${name}: the first character, before which there is nothing to go by.`;
    else readout.textContent = `${name}: ${number(nats, 2)} nats. The model held it ${percent(Math.exp(-nats))} probable.`;
  }

  shown.addEventListener("mouseover", (event) => {
    const index = event.target.closest("[data-index]")?.dataset.index;
    if (index !== undefined) point(Number(index));
  });
  shown.addEventListener("click", (event) => {
    const index = event.target.closest("[data-index]")?.dataset.index;
    if (index !== undefined) point(Number(index));
  });
  shown.addEventListener("focus", () => at < 0 && point(0));
  shown.addEventListener("keydown", (event) => {
    const forth = getComputedStyle(shown).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = forth === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const steps = { [forth]: at + 1, [back]: Math.max(0, at - 1), Home: 0, End: spans.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    point(steps[event.key]);
    spans[at]?.scrollIntoView({ block: "nearest" });
  });

  return {
    element: h("div", { class: "stack" },
      h("form", { class: "controls card stack", novalidate: true, onsubmit: ask }, box, h("div", { class: "row" }, look, own)),
      wrong, result),
    shown: () => {
      own.disabled = !shared.written();
      fill(false);
    },
    reset() {
      text.value = filled = "";
      box.complain("");
      wrong.hidden = true;
      result.hidden = true;
    },
  };
}
