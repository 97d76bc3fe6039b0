// The list of models: a table, or cards where there is little room. A row stays the same element as long as its model
// is shown, so that a name that is being typed, or a question that is asked, outlives what happens meanwhile.

const STATUSES = ["draft", "ready", "queued", "running", "complete", "stopped", "failed"];

const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/** A time as somebody would say it who does not know it exactly. */
function about(seconds) {
  if (seconds < 10) return "a moment";
  if (seconds < 50) return `about ${Math.ceil(seconds / 10) * 10} seconds`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 2) return "about a minute";
  if (minutes < 90) return `about ${minutes} minutes`;
  return `about ${Math.round(seconds / 3600)} hours`;
}

const ordinal = (place) => {
  const ends = { 1: "st", 2: "nd", 3: "rd" };
  return `${number(place)}${(place % 100 > 10 && place % 100 < 14 ? null : ends[place % 10]) ?? "th"}`;
};

/** What a status means for this model, in words. */
function told(model) {
  switch (model.status) {
    case "draft": return "needs a text";
    case "ready": return "not started yet";
    case "queued": {
      if (!model.place) return "waits its turn";
      const place = model.place === 1 ? "next in the queue" : `${ordinal(model.place)} in the queue`;
      return model.starts_in === null ? place : `${place}, starts in ${about(model.starts_in)}`;
    }
    case "running": {
      if (model.stopping) return "stopping: it saves what it has learned";
      const done = model.progress === null ? "begins" : `${number(100 * model.progress)} %`;
      return model.left === null ? done : `${done}, ${about(model.left)} left`;
    }
    case "failed": return model.error ?? "";
    case "stopped": return model.progress === null ? "" : `at ${number(100 * model.progress)} %`;
    default: return "";
  }
}

/** What is lost when a model is deleted. */
function loss(model) {
  if (model.writes) return "What it has learned, its text and its log are lost for good.";
  return model.text ? "Its text is lost for good; nothing was learned yet." : "Nothing else is lost: it has no text yet.";
}

/** One model: a row, and a second one below it while something is asked. */
function rowOf(page, ask, leave) {
  const name = h("span", { class: "name", dir: "auto" });
  const text = h("span", { class: "hint text" });
  const badge = h("span", { class: "badge" });
  const words = h("span", { class: "words" });
  const bar = h("progress", { max: 1, "aria-label": "Progress" });
  const value = h("span");
  const age = h("time");
  const button = (label, act, kind = "small") => h("button", { type: "button", class: kind, onclick: act }, label);
  let model = null;

  const open = button("Open", () => page.go(["draft", "ready"].includes(model.status) ? "new" : "training", model.id));
  const write = button("Write", () => page.go("writing", model.id));
  const stop = button("Stop", () => page.during(stop, page.ask("stop", { id: model.id })));
  const goOn = button("Continue", () => (model.status === "complete" ? howLong() : trainOn(goOn)));
  const rename = button("Rename", () => askName(), "small plain");
  const remove = button("Delete", () => askDelete(), "small plain");
  const shownName = h("div", { class: "naming" }, name, text);
  const nameCell = h("td", { role: "cell", class: "about" }, shownName);
  const valueCell = h("td", { role: "cell", class: "figure value" }, h("span", { class: "label", "aria-hidden": "true" }, "Loss "), value);
  const row = h("tr", { role: "row" },
    nameCell,
    h("td", { role: "cell", class: "doing" }, h("div", {}, badge, " ", words), bar),
    valueCell,
    h("td", { role: "cell", class: "age" }, age),
    h("td", { role: "cell", class: "actions" }, h("div", { class: "row" }, open, write, stop, goOn, rename, remove)),
  );
  const cell = h("td", { role: "cell", colspan: 5 });
  const below = h("tr", { role: "row", class: "asking", hidden: true }, cell);

  /** Ask something below the row. Escape and "Cancel" put the focus back where it was. */
  const question = (back, words, ...answers) => {
    const close = () => {
      below.hidden = true;
      cell.replaceChildren();
      back.focus();
    };
    const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    cell.replaceChildren(
      h("div", { class: "card", role: "group", "aria-label": words[0], onkeydown: (event) => event.key === "Escape" && close() },
        h("p", {}, h("strong", { dir: "auto" }, words[0]), " ", words[1] ?? ""), wrong,
        h("div", { class: "row" }, answers.flat(), button("Cancel", close, "small"))),
    );
    below.hidden = false;
    cell.querySelector("button").focus();
    return { answer: (pressed, promise) => settled(pressed, promise, wrong) };
  };

  /** Whether a promise was kept; what went wrong is said beside it. */
  const settled = async (pressed, promise, wrong) => {
    pressed.disabled = true;
    pressed.setAttribute("aria-busy", "true");
    wrong.hidden = true;
    try {
      await promise;
      return true;
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
      return false;
    } finally {
      pressed.disabled = false;
      pressed.removeAttribute("aria-busy");
    }
  };

  const askDelete = () => {
    const yes = button("Delete for good", async () => {
      const { name } = model;
      const next = leave.after(row);
      if (await asking.answer(yes, page.ask("delete", { id: model.id }))) {
        page.say(`${name} is deleted`);
        leave.to(next);
      }
    }, "small danger");
    const asking = question(remove, [`Delete “${model.name}”?`, loss(model)], yes);
  };

  const trainOn = (pressed, minutes = null) => page.during(pressed, page.ask("train_on", { id: model.id, minutes }));

  const howLong = () => {
    const answers = page.state().minutes.map((minutes) => {
      const pressed = button(minutes === 1 ? "1 minute" : `${minutes} minutes`, async () => {
        if (await asking.answer(pressed, page.ask("train_on", { id: model.id, minutes }))) {
          page.say(`${model.name} goes on`);
          below.hidden = true;
          open.focus();
        }
      });
      return pressed;
    });
    const asking = question(goOn, [`Train “${model.name}” for how much longer?`], answers);
  };

  const askName = () => {
    const input = h("input", { type: "text", maxlength: 200, value: model.name, "aria-label": `New name of ${model.name}`, dir: "auto" });
    const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    const save = h("button", { type: "submit", class: "small primary" }, "Save");
    const back = () => {
      nameCell.replaceChildren(shownName);
      rename.disabled = false;
      rename.focus();
    };
    const form = h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        if (await settled(save, page.ask("rename", { id: model.id, name: input.value }), wrong)) {
          page.say(`Renamed to ${input.value}`);
          back();
        } else input.focus();
      },
      onkeydown: (event) => event.key === "Escape" && back(),
    }, h("div", { class: "row" }, input, save, button("Cancel", back, "small")), wrong);
    nameCell.replaceChildren(form);
    rename.disabled = true;
    input.focus();
    input.select();
  };

  const show = (element, shown) => {
    if (element.hidden === !shown) return;
    const focused = element === document.activeElement;
    element.hidden = !shown;
    if (focused && !shown) open.focus();
  };

  const sayAge = () => {
    age.dateTime = model.created_at;
    age.textContent = ago(model.created_at);
    age.title = new Date(model.created_at).toLocaleString("en");
  };

  return {
    row,
    below,
    sayAge,
    first: open,
    update(now, people) {
      model = now;
      const set = (element, text) => element.textContent !== text && (element.textContent = text);
      set(name, model.name);
      const owner = people ? (model.owner ? `of ${model.owner}` : "of this machine") : null;
      const size = model.characters === null ? null : `${model.text}, ${number(model.characters)} characters`;
      set(text, [owner, size].filter(Boolean).join(" · "));
      badge.dataset.status = model.status;
      set(badge, capital(model.status));
      set(words, told(model));
      show(bar, model.status === "running");
      bar.value = model.progress ?? 0;
      set(value, model.loss === null ? "–" : number(model.loss, 2));
      valueCell.toggleAttribute("data-none", model.loss === null);
      value.title = model.loss === null ? "Not measured" : `As unsure as between ${number(Math.exp(model.loss), 1)} equally likely characters`;
      sayAge();
      const active = model.status === "queued" || model.status === "running";
      const fresh = model.status === "draft" || model.status === "ready";
      set(open, model.status === "draft" ? "Add text" : model.status === "ready" ? "Start…" : "Open");
      show(open, model.mine || !fresh);
      show(write, model.writes);
      show(stop, model.mine && active);
      set(stop, model.stopping ? "Stop now" : "Stop");
      show(goOn, model.mine && !active && !fresh && (model.status !== "complete" || model.goes_on));
      set(goOn, { complete: "Continue…", failed: "Try again" }[model.status] ?? "Continue");
      show(rename, model.mine);
      show(remove, model.mine && !active);
      for (const [element, action] of [[open, open.textContent], [write, "Write with"], [stop, stop.textContent], [goOn, goOn.textContent], [rename, "Rename"], [remove, "Delete"]]) {
        element.setAttribute("aria-label", `${action} ${model.name}`);
      }
    },
  };
}

/** What stands in the place of a list that has nothing to show. */
function invitation(page) {
  const take = (file) => {
    handOver(file);
    page.go("new");
  };
  const choice = (title, words, label, act) => {
    const button = h("button", { type: "button", onclick: () => page.during(button, act()) }, label);
    return h("div", { class: "card choice" }, h("h3", {}, title), h("p", { class: "quiet" }, words), button);
  };
  const element = h("div", { class: "invitation", hidden: true },
    h("div", { class: "zone" },
      h("p", { class: "large" }, "Drop a text here"),
      h("p", { class: "quiet" }, "A novel, your poems, a songbook, source code: any plain text file. A small network reads it, and learns to write like it."),
      h("div", { class: "row" }, fileButton("Choose a file", take, "primary"))),
    h("p", { class: "quiet or" }, "No text at hand?"),
    h("div", { class: "choices" },
      choice("Python's own source", "Learns for one minute from the programs that Python itself is made of. Nothing is downloaded.",
        "Learn Python", () => page.ask("python")),
      choice("Write at once", "A small model comes with charrnn. It has learned Python already, and writes right away.",
        "Write with it", () => page.ask("shipped")),
      choice("Something else", "Paste a text, take another sample, or set every option yourself.",
        "New model", () => page.go("new"))));
  return element;
}

export default {
  render: view((page) => {
    const rows = new Map();
    const heading = h("h2", { tabindex: "-1" }, "Models");
    const create = h("button", { type: "button", class: "primary", onclick: () => page.go("new") }, "New model");
    const empty = invitation(page);
    const body = h("tbody", { role: "rowgroup" });
    const head = (name, kind = "") => h("th", { role: "columnheader", scope: "col", class: kind }, name);
    const table = h("table", { role: "table", "aria-label": "Models" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        head("Name"), head("Status"), head("Validation loss", "figure"), head("Made"), head("Actions"))),
      body);
    const explained = h("p", { class: "hint" }, "Validation loss: how much each next character of text it was not trained on surprises the model, on average. Lower is better; it is measured in nats.");
    const more = h("button", { type: "button", onclick: () => page.during(more, page.ask("more")) }, "Show more");
    const count = h("p", { class: "quiet count" });
    const nobody = h("p", { class: "notice", hidden: true }, "Nobody trains what waits here at the moment. It begins when a server, or the command ", h("code", {}, "charrnn supervise"), ", runs on this database.");
    const none = h("p", { class: "quiet none", hidden: true }, "No model fits. Names are searched by how they begin.");
    const loading = h("p", { class: "quiet", role: "status" }, "Looking for models …");

    const name = h("input", { type: "search", maxlength: 200, autocomplete: "off", spellcheck: "false" });
    const status = h("select", {}, h("option", { value: "" }, "Any"), STATUSES.map((each) => h("option", { value: each }, capital(each))));
    let timer = null;
    const search = () => {
      clearTimeout(timer);
      page.ask("search", { prefix: name.value, status: status.value }).then(() => page.trouble(null), page.trouble);
    };
    name.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(search, 150);
    });
    status.addEventListener("change", search);
    const filters = h("form", { class: "row end filters", role: "search", onsubmit: (event) => { event.preventDefault(); search(); } },
      field("Name begins with", name), field("Status", status));

    /** Where the focus goes when a row goes. */
    const leave = {
      after(row) {
        const shown = [...rows.values()];
        const at = shown.findIndex((each) => each.row === row);
        return shown[at + 1] ?? shown[at - 1];
      },
      to(next) {
        (next?.row.isConnected ? next.first : create.offsetParent ? create : heading).focus();
      },
    };

    page.root.classList.add("models");
    page.root.append(h("div", { class: "spread top" }, heading, create), loading, empty, filters, nobody, table, none,
      h("div", { class: "spread" }, count, more), explained);
    dropsOn(page.root, (file) => {
      handOver(file);
      page.go("new");
    });

    let before = null; // the status of each model, to tell what changed
    const tell = (models) => {
      const now = new Map(models.map((model) => [model.id, model]));
      for (const [id, was] of before ?? []) {
        const model = now.get(id);
        if (model && model.status !== was) page.say(`${model.name}: ${model.status} ${told(model)}`);
      }
      before = new Map(models.map((model) => [model.id, model.status]));
    };

    page.onState((state) => {
      const { models } = state;
      const known = models !== undefined;
      const filtered = Boolean(state.prefix || state.status);
      const shown = known && (models.length > 0 || filtered);
      loading.hidden = known;
      empty.hidden = !known || shown;
      filters.hidden = create.hidden = !shown;
      table.hidden = explained.hidden = !known || models.length === 0;
      none.hidden = !known || !filtered || models.length > 0;
      nobody.hidden = !state.nobody;
      if (!known) return;
      const ids = new Set(models.map((model) => model.id));
      for (const [id, each] of [...rows]) {
        if (ids.has(id)) continue;
        each.row.remove();
        each.below.remove();
        rows.delete(id);
      }
      let place = body.firstElementChild;
      for (const model of models) {
        let each = rows.get(model.id);
        if (!each) each = rowOf(page, page.ask, leave);
        rows.delete(model.id); // and in again, so that the map has the order of the list
        rows.set(model.id, each);
        each.update(model, state.people);
        if (each.row === place) place = each.below.nextElementSibling;
        else body.insertBefore(each.row, place).after(each.below);
      }
      tell(models);
      more.hidden = !state.more;
      const total = `${number(state.total)}${state.exact ? "" : "+"}`;
      const least = state.total > state.most && models.length >= state.most ? ": search for older ones by name" : "";
      count.textContent = models.length < state.total ? `${number(models.length)} of ${total} models${least}` : "";
      count.hidden = !count.textContent;
    });

    const ageing = setInterval(() => rows.forEach((each) => each.sayAge()), 15000);
    page.onEnd(() => {
      clearInterval(ageing);
      clearTimeout(timer);
    });
  }),
};
