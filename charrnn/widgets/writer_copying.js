// Is it copying? The longest run of a text that stands in what the model has learned from.

function copyingPanel(page, shared) {
  const text = h("textarea", { rows: 5, dir: "auto", spellcheck: "false" });
  const box = field("Text", text, "Up to 20,000 characters: what the model wrote, as a rule.");
  const own = h("button", { type: "button", onclick: () => fill(true) }, "Take what it wrote");
  const stream = streamer(page, "Search the training text");
  const bar = h("progress", { max: "1", "aria-label": "How much of the training text is searched", hidden: true });
  const result = h("div", { class: "result", hidden: true });
  const form = h("form", { class: "controls card stack", novalidate: true, onsubmit: search }, box, h("div", { class: "row" }, stream.buttons, own), bar);
  const missing = h("p", { class: "card quiet", hidden: true });
  let filled = "";

  function fill(always) {
    if (!always && text.value !== filled) return;
    if (!shared.newText()) return;
    text.value = filled = beginning(shared.newText(), 20000);
  }

  async function search(event) {
    event.preventDefault();
    const given = text.value;
    result.hidden = true;
    box.complain("");
    bar.hidden = false;
    bar.removeAttribute("value");
    stream.status.textContent = "Searching \u2026";
    let found = null;
    const outcome = await stream.run("copied", { text: given }, (part) => {
      found = part.found;
      bar.value = part.done;
      stream.status.textContent = `Searching: ${number(100 * part.done)} %${found ? `, the longest so far has ${number(found.length)} characters` : ""} \u2026`;
    });
    bar.hidden = true;
    stream.status.textContent = outcome === "stopped" ? "Stopped." : "";
    if (outcome === "done") show(given, found);
  }

  const verdict = (length, share) => {
    if (length >= 200 || (share > 0.5 && length >= 60)) return "That is copying: the model knows this piece by heart. A larger text, more dropout or less training helps.";
    if (length >= 60) return "That is more than a phrase: a line or two that the model knows by heart. In a text with fixed phrases, such as code or a licence, it is normal.";
    return "That is normal: names, common phrases and turns of this length come up by themselves.";
  };

  function show(given, found) {
    const all = Array.from(given.replaceAll("\r\n", "\n"));
    result.hidden = false;
    if (!found) {
      result.replaceChildren(h("p", { class: "verdict" }, "Not one of these characters stands in the training text."));
      return;
    }
    const end = found.start + found.length;
    const share = found.length / all.length;
    const run = all.slice(found.start, end).join("");
    const figure = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    result.replaceChildren(
      h("p", { class: "verdict" }, h("strong", {}, `The longest copied run has ${number(found.length)} ${found.length === 1 ? "character" : "characters"}. `), verdict(found.length, share)),
      h("dl", { class: "figures" },
        figure("Share of this text", `${number(100 * share, share < 0.1 ? 1 : 0)} %`),
        figure("Line of the training text", number(found.line)),
        figure("Character of the training text", number(found.offset + 1))),
      h("div", { class: "two" },
        h("section", { "aria-label": "In this text" }, h("h3", {}, "In this text"),
          h("div", { class: "written grows", dir: "auto", tabindex: "0", role: "region", "aria-label": "This text, with the run marked" }, all.slice(0, found.start).join(""), h("mark", {}, run), all.slice(end).join(""))),
        h("section", { "aria-label": "In the training text" }, h("h3", {}, "In the training text"),
          h("div", { class: "written grows", dir: "auto", tabindex: "0", role: "region", "aria-label": "The training text around the run" }, found.before, h("mark", {}, run), found.after))),
      h("p", { class: "hint" }, "Compared letter by letter: what differs in one character counts as another text."),
    );
    for (const mark of result.querySelectorAll("mark")) mark.parentElement.scrollTop = mark.offsetTop - mark.parentElement.offsetTop - 40;
    page.say(`The longest copied run has ${number(found.length)} characters`);
  }

  return {
    element: h("div", { class: "stack" },
      h("p", { class: "quiet" }, "A model should write like its text, not write it off. Here is the longest run of characters that stands in its training text just so."),
      missing, form, stream.wrong, stream.status, result),
    shown() {
      own.disabled = !shared.newText();
      fill(false);
    },
    follow({ text: learned, held }) {
      missing.hidden = Boolean(learned);
      form.hidden = !learned;
      missing.textContent = held
        ? "A model in a notebook does not have its text at hand, so there is nothing to compare with. In a workspace it has."
        : "This model came as a file, without the text it has learned from, so there is nothing to compare with.";
    },
    reset() {
      stream.end();
      text.value = filled = "";
      result.hidden = true;
      stream.status.textContent = "";
      stream.complain(null);
    },
  };
}
