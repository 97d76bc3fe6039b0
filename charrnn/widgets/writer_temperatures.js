// Temperatures: the same prompt and seed, from careful to wild.

const TEMPERATURES = [0.2, 0.5, 0.8, 1.1];

function temperaturesPanel(page, shared) {
  const prompt = promptField(page, "The same for all of them.", 2);
  const list = h("input", { type: "text", value: TEMPERATURES.join(", "), inputmode: "decimal", autocomplete: "off" });
  const wanted = field("Temperatures", list, "Up to four numbers from 0 to 2, with commas between them.");
  const length = numberField("Length", { least: 1, most: 100000, value: 300 }, "characters of each text");
  const seed = numberField("Seed", { least: 0, most: 9007199254740991, value: newSeed() }, "The dice are the same for all.");
  const stream = streamer(page, "Write them");
  const out = h("div", { class: "out" });
  let touched = false;
  prompt.input.addEventListener("input", () => (touched = true));

  const temperatures = () => {
    const given = list.value.split(/[,;\s]+/).filter(Boolean).map(Number);
    const fits = given.length >= 1 && given.length <= 4 && given.every((each) => each >= 0 && each <= 2);
    wanted.complain(fits ? "" : "Give one to four numbers from 0 to 2, such as 0.2, 0.5, 0.8, 1.1.");
    if (!fits) {
      list.focus();
      throw new Unfit();
    }
    return given;
  };

  async function write(event) {
    event.preventDefault();
    let given;
    try {
      given = { temperatures: temperatures(), length: length.read(), seed: seed.read(), prompt: prompt.read() };
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      return;
    }
    const begun = cards(page, given.temperatures.length, (index) => `${given.temperatures[index]} \u00b7 ${boldness(given.temperatures[index])}`, () => shared.name());
    begun.begin(given.prompt);
    out.replaceChildren(begun.element);
    stream.status.textContent = "Beginning \u2026";
    const outcome = await stream.run("temperatures", given, (part) => {
      begun.take(part, given.prompt);
      if ("unseen" in part) prompt.tell(part.unseen);
      stream.status.textContent = `${number(begun.length())} characters \u2026`;
    });
    stream.status.textContent = outcome === "failed" && !begun.length() ? "" : `${number(begun.length())} characters. ${outcome === "stopped" ? "Stopped: what was written stays." : ""}`;
  }

  return {
    element: h("div", { class: "result" },
      h("p", { class: "quiet" }, "A low temperature takes the likely characters, and soon repeats itself; a high one takes unlikely ones too, and soon makes up words. What is best lies between."),
      h("form", { class: "controls card stack", novalidate: true, onsubmit: write },
        prompt,
        h("div", { class: "trio" }, wanted, length, h("div", { class: "seed" }, seed, h("button", { type: "button", onclick: () => seed.set(newSeed()) }, "New seed"))),
        stream.buttons),
      stream.wrong, out, stream.status),
    shown() {
      if (!touched) prompt.set(shared.prompt());
    },
    reset() {
      stream.end();
      touched = false;
      out.replaceChildren();
      stream.status.textContent = "";
      stream.complain(null);
    },
  };
}
