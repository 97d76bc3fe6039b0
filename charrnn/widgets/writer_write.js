// Write: a prompt, how to choose, and the texts as they are written.

function writePanel(page, shared) {
  const prompt = promptField(page, "What the text begins with. Leave it empty, and the model begins by itself.");
  const length = numberField("Length", { least: 1, most: 100000, value: 600 }, "characters to write");
  const temperature = temperatureField();
  const count = h("select", {}, [1, 2, 3, 4].map((each) => h("option", { value: each }, each === 1 ? "1 text" : `${each} texts`)));
  const topK = numberField("Top-k", { least: 1, most: 100000, optional: true }, "Choose among so many likeliest characters only.");
  const topP = numberField("Top-p", { least: 0.01, most: 1, step: 0.01, optional: true }, "Choose among the likeliest that reach this probability together.");
  const seed = numberField("Seed", { least: 0, most: 9007199254740991, value: newSeed() }, "The same seed and choices write the same text again.");
  const always = h("input", { type: "checkbox", checked: true });
  const another = h("button", { type: "button", onclick: () => seed.set(newSeed()) }, "New seed");
  const fields = { prompt, length, temperature, top_k: topK, top_p: topP, seed };
  const stream = streamer(page, "Write");
  const out = h("div", { class: "out" });
  const more = h("details", { class: "more" }, h("summary", {}, "More choices"),
    h("div", { class: "stack" },
      h("div", { class: "pair" }, topK, topP),
      h("div", { class: "seed" }, seed, another),
      h("label", { class: "choice" }, always, "A new seed each time")));
  const form = h("form", { class: "controls card stack", novalidate: true, onsubmit: write },
    prompt,
    temperature,
    h("div", { class: "pair" }, length, field("Variations", count)),
    more,
    stream.buttons);
  const empty = h("p", { class: "quiet nothing" }, "What the model writes appears here.");
  out.append(empty);
  prompt.input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });

  async function write(event) {
    event.preventDefault();
    let given;
    for (const each of Object.values(fields)) each.complain("");
    if (always.checked) seed.set(newSeed());
    try {
      given = { length: length.read(), top_k: topK.read(), top_p: topP.read(), seed: seed.read() };
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      if (form.querySelector("details [aria-invalid]")) more.open = true;
      return;
    }
    given = { ...given, prompt: prompt.read(), temperature: temperature.read(), count: Number(count.value), same_seed: !always.checked };
    const begun = cards(page, given.count, (index) => (given.count > 1 ? `Text ${index + 1}` : "Text"), () => shared.name());
    begun.begin(given.prompt);
    out.replaceChildren(begun.element);
    const tell = (after = "") => (stream.status.textContent = `${number(begun.length())} characters${after}`);
    stream.status.textContent = given.prompt ? "Reading the prompt \u2026" : "Beginning \u2026";
    const outcome = await stream.run("write", given, (part) => {
      begun.take(part, given.prompt);
      if ("unseen" in part) prompt.tell(part.unseen);
      if (part.texts?.some(Boolean)) tell(" \u2026");
    });
    shared.wrote(given.prompt, begun.texts[0].text());
    if (outcome === "failed" && !begun.length()) {
      stream.status.textContent = "";
      return;
    }
    tell({ stopped: ". Stopped: what was written stays.", done: ".", failed: ". It broke off." }[outcome]);
  }

  return {
    element: h("div", { class: "sides" }, form, h("div", { class: "result" }, stream.wrong, out, stream.status)),
    prompt,
    reset(sampling) {
      stream.end();
      prompt.set(sampling.prompt ?? "");
      length.set(sampling.length ?? 600);
      temperature.set(sampling.temperature ?? 0.8);
      topK.set(sampling.top_k);
      topP.set(sampling.top_p);
      always.checked = sampling.seed === undefined || sampling.seed === null;
      seed.set(sampling.seed ?? newSeed());
      more.open = Boolean(sampling.top_k || sampling.top_p || !always.checked);
      stream.status.textContent = "";
      stream.complain(null);
      out.replaceChildren(empty);
    },
  };
}
