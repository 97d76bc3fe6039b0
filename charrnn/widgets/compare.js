// Several models over one another: their curves, what they wrote, and in what they differ.

const CALLED = {
  cell: "Cell", rnn_size: "Units of a layer", num_layers: "Layers", embedding_size: "Embedding", dropout: "Dropout",
  seq_length: "Sequence length", batch_size: "Batch size", learning_rate: "Learning rate", schedule: "Schedule",
  minutes: "Minutes", max_steps: "Steps at most", max_epochs: "Epochs at most", until_stopped: "Until stopped",
  validation: "Held out", keep: "Weights kept", seed: "Seed",
};

const ACTIVE = new Set(["running", "queued"]);

export default {
  render: view((page) => {
    let chosen = [...(page.state().first ?? [])];
    let models = [];
    let asking = false;
    let offeredNow = new Map(); // status of each model that is offered
    let drawnSamples = "";

    const search = h("input", { type: "search", autocomplete: "off", oninput: () => page.ask("search", { prefix: search.value }).catch(page.trouble) });
    const list = h("ul", { class: "offered" });
    const more = h("p", { class: "hint" }, "There are more: type the beginning of a name.");
    const group = h("fieldset", {}, h("legend", {}, "Models to compare"), list);
    const chooser = h("section", { class: "card chooser", "aria-label": "Models to compare" }, field("Find by name", search), group, more);
    const hint = h("p", { class: "quiet" }, "Choose two or more models.");
    const curve = chart("Validation loss of each model");
    const choices = lossChoices(() => draw());
    const which = h("select", { onchange: () => draw() }, h("option", { value: "validation_loss" }, "validation"), h("option", { value: "train_loss" }, "training"));
    choices.element.prepend(field("Curve", which));
    const curves = h("section", { class: "card curves", "aria-label": "Curves" }, h("div", { class: "spread" }, h("h3", {}, "Curves"), choices.element), curve.element,
      h("p", { class: "hint" }, "Losses of different texts cannot be compared: some texts are easier to guess than others."));
    const figures = h("div", { class: "scroll" });
    const differences = h("section", { class: "card", "aria-label": "Figures" }, h("h3", {}, "Figures, and what differs"), figures);
    const slider = h("input", { type: "range", min: 0, max: 100, value: 100, step: 1, oninput: () => drawSamples() });
    const sliderLabel = h("label", { for: (slider.id = unique("share")) }, "");
    const texts = h("div", { class: "texts" });
    const samples = h("section", { class: "card", "aria-label": "Samples" }, h("h3", {}, "What they write"), sliderLabel, slider, texts);
    const result = h("div", { class: "result" }, curves, differences, samples);
    page.root.append(h("h2", { tabindex: -1 }, "Compare"), h("div", { class: "compare" }, chooser, h("div", {}, hint, result)));

    const boxes = new Map();
    function offer({ offered = [], more: others = false, most = 6 }) {
      more.hidden = !others;
      offeredNow = new Map(offered.map(({ id, status }) => [id, status]));
      for (const [id, box] of boxes) {
        if (!offered.some((each) => each.id === id)) { box.item.remove(); boxes.delete(id); }
      }
      offered.forEach((model, at) => {
        let box = boxes.get(model.id);
        if (!box) {
          const input = h("input", { type: "checkbox", onchange: () => toggle(model.id, input.checked) });
          const name = h("span", { dir: "auto", class: "name" });
          const about = h("span", { class: "hint" });
          box = { input, name, about, item: h("li", {}, h("label", { class: "choice" }, input, h("span", {}, name, about))) };
          boxes.set(model.id, box);
        }
        box.input.checked = chosen.includes(model.id);
        box.input.disabled = !box.input.checked && chosen.length >= most;
        if (box.name.textContent !== model.name) box.name.textContent = box.name.title = model.name;
        const about = model.best === null ? model.status : `${model.status} · ${number(model.best, 3)} nats`;
        if (box.about.textContent !== about) box.about.textContent = about;
        if (list.children[at] !== box.item) list.insertBefore(box.item, list.children[at] ?? null);
      });
      if (!offered.length && !list.children.length) hint.textContent = "There is no model of that name yet.";
      else hint.textContent = "Choose two or more models.";
    }

    function toggle(id, on) {
      chosen = on ? [...chosen, id] : chosen.filter((each) => each !== id);
      offer(page.state());
      follow();
    }

    async function follow() {
      if (asking) return;
      asking = true;
      try {
        const of = [...chosen];
        const known = new Map(models.filter(({ id, status }) => of.includes(id) && !ACTIVE.has(status)).map((each) => [each.id, each]));
        for (const [id, model] of known) if (offeredNow.has(id) && offeredNow.get(id) !== model.status) known.delete(id);
        const missing = of.filter((id) => !known.has(id)); // what rests does not change
        if (missing.length) for (const model of await page.ask("compared", { ids: missing })) known.set(model.id, model);
        models = of.filter((id) => known.has(id)).map((id) => known.get(id));
        if (models.length < of.length) chosen = chosen.filter((id) => !of.includes(id) || known.has(id));
        draw();
        if (of.join() !== chosen.join()) setTimeout(follow, 0);
      } catch (problem) {
        page.trouble(problem);
      } finally {
        asking = false;
      }
    }

    function draw() {
      hint.hidden = models.length > 1;
      result.hidden = !models.length;
      const [unit, axis] = [choices.unit(), choices.axis()];
      const series = models.map((model) => ({ name: model.name, points: points(model.metrics, which.value, axis, unit) }));
      curve.show({ series, lines: [], x: AXES.get(axis), y: { name: UNITS.get(unit).name, write: (value) => number(value, UNITS.get(unit).digits) } });
      const value = (of) => (of === undefined ? "–" : of === true ? "yes" : String(of));
      const differ = Object.keys(CALLED).filter((name) => new Set(models.map((each) => value(each.options[name]))).size > 1);
      const row = (label, cells) => h("tr", {}, h("th", { scope: "row" }, label), cells.map((cell) => h("td", { dir: "auto" }, cell)));
      figures.replaceChildren(h("table", {},
        h("thead", {}, h("tr", {}, h("td"), models.map((each) => h("th", { scope: "col" }, h("span", { class: "name", dir: "auto", title: each.name }, each.name))))),
        h("tbody", {},
          row("Best validation loss", models.map((each) => (each.best === null ? "–" : `${number(each.best, 3)} nats`))),
          row("Trained for", models.map((each) => duration(each.seconds))),
          row("Steps", models.map((each) => number(each.step))),
          row("Text", models.map((each) => each.text ?? "–")),
          differ.map((name) => row(CALLED[name], models.map((each) => value(each.options[name])))))));
      drawSamples();
    }

    function drawSamples() {
      const share = Number(slider.value) / 100;
      const label = share === 1 ? "At the end of what they have learned so far" : share === 0 ? "Before they have learned anything" : `After ${slider.value} % of what they have learned so far`;
      sliderLabel.textContent = label;
      slider.setAttribute("aria-valuetext", label);
      const found = models.map((model) => ({ model, sample: model.samples.findLast(({ step }) => step <= share * model.step) ?? model.samples[0] }));
      const drawn = JSON.stringify(found.map(({ model, sample }) => [model.id, model.name, sample]));
      if (drawn === drawnSamples) return; // whoever reads or has scrolled is not disturbed
      drawnSamples = drawn;
      texts.replaceChildren(...found.map(({ model, sample }) => {
        return h("article", {}, h("h4", { dir: "auto" }, model.name), h("p", { class: "hint" }, sample ? `after ${number(sample.step)} steps` : "nothing yet"),
          sample && h("pre", { class: "written", dir: "auto", tabindex: 0, "aria-label": `What ${model.name} wrote` }, sample.text));
      }));
    }

    page.onState(offer);
    follow();
    const timer = setInterval(() => {
      if (page.root.offsetParent !== null && models.some(({ id, status }) => ACTIVE.has(status) || (offeredNow.has(id) && offeredNow.get(id) !== status))) follow();
    }, 3000);
    page.onEnd(() => { clearInterval(timer); curve.close(); });
  }),
};
