// A training: how far it is, its curves, what the model writes by now, its log, and what can be done with it.

const MOST_LINES = 2000; // of the log that are kept in the page
const DONE = new Set(["complete", "stopped", "failed"]);
const WORDS = {
  draft: "It has no text yet.", ready: "Ready to learn.", queued: "Waiting for its turn", running: "Learning",
  complete: "Done", stopped: "Stopped", failed: "It could not go on",
};

/** What a training has told so far, and the position after which there is more. */
function story() {
  return { position: {}, metrics: [], samples: [], lines: [] };
}

/** Take in what is new. What is told again replaces what was there. */
function take(told, news) {
  const { start } = news;
  told.metrics = [...told.metrics.filter(({ step }) => step <= start.metric), ...news.metrics];
  told.samples = [...told.samples.filter(({ step }) => step <= start.sample), ...news.samples];
  told.lines = [...told.lines.filter(([position]) => position <= start.log), ...news.lines].slice(-MOST_LINES);
  told.position = news.position;
}

/** What is said about how far it is. */
function standing(model) {
  const left = model.left === null ? "" : `${duration(model.left)} left`;
  const speed = model.speed ? `${number(Math.round(model.speed / 100) * 100)} characters a second` : "";
  const steps = `step ${number(model.step)}`;
  switch (model.status) {
    case "queued":
      return [model.place ? `place ${model.place} in the queue` : "", model.starts_in ? `starts in about ${duration(model.starts_in)}` : ""];
    case "running":
      if (model.stopping) return ["saves what it has learned, and stops; to stop at once loses what it has not saved yet", steps];
      return [model.step ? steps : "gets ready: the first step takes some seconds", left, model.step ? speed : ""];
    default:
      return model.step ? [steps, `${duration(model.seconds)} of training`, model.best === null ? "" : `best validation loss ${number(model.best, 3)} nats`] : [];
  }
}

export default {
  render: view((page) => {
    const ours = served() !== null;
    const title = document.title;
    let told = story();
    let id = null;
    let guessed = null;
    let asking = false;
    let again = false; // ask once more when the answer is there
    let follow = true; // the newest sample
    let before = null; // the status that was shown last
    let wake = false; // tell when it is done
    let latest = null; // what was told of the model last
    let entitled = title; // the page, by us

    // --- the parts ---
    const name = h("h2", { dir: "auto", tabindex: -1 });
    const badge = h("span", { class: "badge" });
    const words = h("p", { class: "standing quiet" });
    const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
    const error = h("p", { class: "problem", hidden: true });
    const nothing = h("div", { class: "card" }, h("p", {}, "Choose a model to see how it learns."),
      h("button", { type: "button", class: "primary", onclick: () => page.go("models") }, "Models"));
    const button = (label, act, kind = "") => h("button", { type: "button", class: kind, onclick: act }, label);
    const refresh = () => page.onceMore?.();
    const doing = (control, what, given = {}) => page.during(control, page.ask(what, { id, ...given })).then((value) => { refresh(); return value; });

    const start = button("Start", () => doing(start, "start"), "primary");
    const stop = button("Stop", () => doing(stop, "stop"));
    const goOn = button("Go on", () => doing(goOn, "start"), "primary");
    const minutes = h("select", { "aria-label": "How much longer" });
    const more = button("Continue", () => doing(more, "go_on", { minutes: Number(minutes.value) }));
    const write = button("Write with it", () => page.go("writing", id), "primary");
    const alert = button("Tell me when it is done", async () => {
      wake = (await Notification.requestPermission()) === "granted";
      alert.hidden = true;
      page.say(wake ? "You will be told" : "Your browser does not allow it");
      if (!wake) page.trouble("Your browser does not let this page tell you. The title of the page says it too.");
    }, "plain");
    alert.hidden = true;

    const sure = h("div", { class: "card ask", hidden: true, role: "group", "aria-label": "Start over?" });
    const over = button("Start over…", () => show(sure));
    const yes = button("Forget and start over", async () => { await doing(yes, "start_over"); hide(sure, over); }, "danger");
    sure.append(h("p", {}, "Everything it has learned is forgotten, and it begins again with the same text. The log stays."), h("div", { class: "row" }, yes, button("Keep it", () => hide(sure, over))));
    const forking = h("div", { class: "card ask", hidden: true, role: "group", "aria-label": "Fork" });
    const forkName = h("input", { maxlength: 200, autocomplete: "off" });
    const fork = button("Fork…", () => { forkName.value = `${page.state().model?.name ?? ""} (fork)`.slice(0, 200); show(forking); forkName.select(); });
    const forkNow = button("Make the new model", async () => {
      const child = await doing(forkNow, "fork", { name: forkName.value.trim() });
      if (child) { hide(forking, fork); page.go("new", child); }
    }, "primary");
    forking.append(h("p", {}, "A new model that begins with what this one has learned, on the same text. This one stays as it is."), h("div", { class: "row end" }, field("Its name", forkName), forkNow, button("Cancel", () => hide(forking, fork))));
    const show = (box) => { for (const each of [sure, forking]) each.hidden = each !== box; box.querySelector("input, button").focus(); };
    const hide = (box, back) => { box.hidden = true; back.focus(); };
    for (const [box, back] of [[sure, over], [forking, fork]]) {
      box.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(box, back); });
    }

    const curve = chart("Loss");
    const choices = lossChoices(() => draw());
    const png = button("Picture (PNG)", async () => {
      const blob = await page.during(png, curve.png());
      if (blob) download(`${fileName()}.png`, blob);
    }, "plain");
    const csv = button("Numbers (CSV)", () => download(`${fileName()}.csv`, table(), "text/csv;charset=utf-8"), "plain");
    const empty = h("p", { class: "quiet" }, "The curves begin with the first steps.");
    const why = h("details", { class: "why" }, h("summary", {}, "How to read this"),
      h("p", { class: "hint" }, "Loss says how surprised the network is by the next character: lower is better. The dotted lines are what mere guessing reaches: with all characters alike, by how frequent each is, and by which follows which."),
      h("p", { class: "hint" }, "Validation is a part of the text that it never learns from. Training can lie above validation: while it learns, dropout switches some of its units off, which makes it stronger later and worse at that moment. Where validation rises while training still falls, it begins to learn the text by heart."));
    const curves = h("section", { class: "card curves", "aria-label": "Curves" },
      h("div", { class: "spread" }, h("h3", {}, "How well it predicts"), choices.element), empty, curve.element, h("div", { class: "row" }, png, csv), why);

    const slider = h("input", { type: "range", min: 0, max: 0, value: 0, step: 1 });
    const sliderLabel = h("label", { for: (slider.id = unique("sample")) }, "");
    const text = h("pre", { class: "written sample", dir: "auto", tabindex: 0, "aria-label": "What it wrote" });
    const noSample = h("p", { class: "quiet" }, "As soon as it learns, you see here what it would write.");
    const timeline = h("div", { class: "timeline" }, sliderLabel, slider);
    const samples = h("section", { class: "card samples", "aria-label": "What it writes" }, h("h3", {}, "What it writes"), noSample, timeline, text,
      h("p", { class: "hint" }, "The same beginning and the same dice each time: only what it has learned differs."));
    slider.addEventListener("input", () => { follow = Number(slider.value) === told.samples.length - 1; drawSample(); });

    const log = h("div", { class: "log written", role: "log", tabindex: 0, "aria-label": "Log" });
    const logs = h("section", { class: "card", "aria-label": "Log" }, h("h3", {}, "Log"), log);
    let logged = -1; // position of the last line in the page

    const main = h("div", { class: "training" },
      h("div", { class: "spread head" }, h("div", { class: "row" }, name, badge), h("div", { class: "row actions" }, write, start, goOn, stop, minutes, more, over, fork)),
      sure, forking, error, bar, h("div", { class: "spread" }, words, alert), h("div", { class: "two" }, curves, samples), logs);
    page.root.append(nothing, main);

    // --- drawing ---
    const fileName = () => asFileName(page.state().model?.name ?? "", "training");

    function table() {
      const fields = ["step", "seconds", "epoch", "train_loss", "validation_loss", "learning_rate", "characters_per_second"];
      return [fields.join(","), ...told.metrics.map((each) => fields.map((each_) => each[each_] ?? "").join(","))].join("\r\n") + "\r\n";
    }

    function draw() {
      const [unit, axis] = [choices.unit(), choices.axis()];
      const series = [["training", "train_loss"], ["validation", "validation_loss"]]
        .map(([label, from]) => ({ name: label, points: points(told.metrics, from, axis, unit) }))
        .filter((each) => each.points.length);
      const lines = guessed
        ? [["guessing evenly", guessed.evenly], ["single characters", guessed.characters], ["pairs of characters", guessed.pairs]]
            .map(([label, nats]) => ({ name: `${label}: ${written(nats, unit)}`, y: UNITS.get(unit).of(nats) }))
        : [];
      empty.hidden = series.length > 0;
      png.hidden = csv.hidden = !series.length;
      curve.element.hidden = !series.length;
      curve.show({ series, lines: series.length ? lines : [], x: AXES.get(axis), y: { name: UNITS.get(unit).name, write: (value) => number(value, UNITS.get(unit).digits) } });
    }

    function drawSample() {
      const count = told.samples.length;
      noSample.hidden = count > 0;
      timeline.hidden = text.hidden = !count;
      if (!count) return;
      slider.max = count - 1;
      if (follow) slider.value = count - 1;
      const at = Number(slider.value);
      const { step, text: wrote } = told.samples[at];
      const label = `Sample ${at + 1} of ${count}, ${step ? `after ${number(step)} step${step === 1 ? "" : "s"}` : "before it has learned anything"}`;
      sliderLabel.textContent = label;
      slider.setAttribute("aria-valuetext", label);
      if (text.textContent !== wrote) text.textContent = wrote;
    }

    function drawLog() {
      const stuck = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      if (!told.lines.length) log.replaceChildren(h("p", { class: "quiet" }, "Nothing yet."));
      else if (logged < 0) log.replaceChildren();
      const fresh = told.lines.filter(([position]) => position > logged);
      log.append(...fresh.map(([, time, line]) =>
        h("div", { class: "line" }, h("time", { datetime: time }, new Date(time).toLocaleTimeString()), h("span", { dir: "auto" }, line))));
      while (log.children.length > MOST_LINES) log.firstChild.remove();
      if (fresh.length) logged = fresh.at(-1)[0];
      if (stuck) log.scrollTop = log.scrollHeight;
    }

    function ended(model) {
      const text_ = `${model.name}: ${WORDS[model.status].toLowerCase()}`;
      page.say(text_);
      if (wake) new Notification("charrnn", { body: text_ });
      wake = false;
    }

    /** Tell when it has ended. */
    function happened(model) {
      if (before && before !== model.status && DONE.has(model.status)) ended(model);
      before = model.status;
      latest = model;
      entitle();
    }

    /** Say in the page's title how far it is, as long as it is shown, or somebody waits for its end. */
    function entitle() {
      if (!ours || latest === null) return;
      const { name, status, progress } = latest;
      if (page.root.offsetParent === null && !wake) {
        if (document.title === entitled) document.title = title;
        return;
      }
      const percent = status === "running" && progress !== null ? `${Math.floor(100 * progress)} % · ` : "";
      entitled = `${DONE.has(status) ? `${WORDS[status]} · ` : percent}${name} · charrnn`;
      if (document.title !== entitled) document.title = entitled;
    }

    // --- following ---
    async function catchUp() {
      again = asking;
      if (asking || id === null) return;
      asking = true;
      try {
        for (let news = { full: true }; news.full; ) {
          const of = id;
          news = await page.ask("news", { id: of, ...told.position });
          if (of !== id) return catchUpLater();
          if (news.start.sample < 0 && told.samples.length) follow = true; // it began again
          const changed = news.metrics.length || news.samples.length || news.start.metric < (told.metrics.at(-1)?.step ?? -1);
          take(told, news);
          if (changed) { draw(); drawSample(); }
          if (news.lines.length || logged < 0) drawLog();
          if (page.root.offsetParent === null) happened(news.model); // else the state says it
        }
      } catch (problem) {
        if (problem.reason !== "ModelNotFound") page.trouble(problem);
      } finally {
        asking = false;
        if (again) catchUpLater();
      }
    }
    const catchUpLater = () => setTimeout(catchUp, 0);
    page.onceMore = catchUpLater;

    function chosen(model) {
      id = model.id;
      told = story();
      guessed = null;
      follow = true;
      before = null;
      wake = false;
      logged = -1;
      log.replaceChildren();
      sure.hidden = forking.hidden = true;
      page.trouble(null);
      draw();
      drawSample();
      if (model.text !== null) {
        page.ask("guesses", { id }).then((found) => {
          if (model.id === id) { guessed = found; draw(); }
        }, () => {});
      }
    }

    page.onState(({ model = null, gone = false, minutes: offered = [] }) => {
      if (minutes.options.length !== offered.length) { // they stay the same as long as somebody is here
        minutes.replaceChildren(...offered.map((each) => h("option", { value: each }, `${each} minute${each === 1 ? "" : "s"} more`)));
      }
      main.hidden = !model;
      nothing.hidden = Boolean(model);
      nothing.firstChild.textContent = gone ? "This model is gone: somebody has deleted it." : "Choose a model to see how it learns.";
      if (!model) { id = latest = null; return; }
      if (model.id !== id) chosen(model);
      name.textContent = model.name;
      badge.textContent = model.stopping && model.status === "running" ? "Stopping" : WORDS[model.status];
      badge.dataset.status = model.status;
      words.textContent = standing(model).filter(Boolean).join(" · ");
      error.hidden = model.status !== "failed";
      error.textContent = [model.error, model.goes_on
        ? "What it had learned until then is saved: “Go on” continues from there, “Start over” begins again."
        : "“Go on” tries again."].filter(Boolean).join(" ");
      bar.hidden = !(model.status === "running" || (model.status !== "complete" && model.progress > 0)); // done is done
      if (model.status === "running" && (model.progress === null || model.endless)) bar.removeAttribute("value");
      else bar.value = model.progress ?? 0;
      const running = model.status === "running";
      const resting = DONE.has(model.status);
      start.hidden = model.status !== "ready";
      goOn.hidden = !(["stopped", "failed"].includes(model.status) && model.text !== null);
      stop.hidden = !(running || model.status === "queued");
      stop.title = model.stopping ? "What it has learned since it last saved is lost" : "It saves what it has learned, and can go on later";
      stop.textContent = model.stopping ? "Stop at once" : model.status === "queued" ? "Take out of the queue" : "Stop";
      more.hidden = minutes.hidden = !(resting && model.goes_on && model.text !== null);
      over.hidden = !(resting && model.text !== null && model.step > 0);
      fork.hidden = !(resting && model.writes);
      write.hidden = !model.writes;
      alert.hidden = !(ours && running && "Notification" in window && Notification.permission !== "denied" && !wake);
      happened(model);
      catchUp();
    });
    const timer = setInterval(() => {
      const hidden = page.root.offsetParent === null;
      entitle(); // whether it is shown may have changed
      if (["running", "queued"].includes(before) && (!hidden || wake)) catchUp();
    }, 1500);
    page.onEnd(() => { clearInterval(timer); curve.close(); document.title = title; });
  }),
};
