// Write together: the likeliest next characters as bars, of which one is taken; or the model goes on for a while.

function togetherPanel(page, shared) {
  const text = h("textarea", { rows: 5, dir: "auto", spellcheck: "false", autocapitalize: "off" });
  const box = field("Your text", text, "Write in it, or take what the model offers.");
  const note = h("p", { class: "hint strange-note", role: "status", hidden: true });
  const temperature = temperatureField(() => later(100));
  const wrong = h("p", { class: "problem", role: "alert", hidden: true });
  const undo = h("button", { type: "button", disabled: true, onclick: takeBack }, "Undo");
  const word = h("button", { type: "button", onclick: () => goOn("word", word) }, "Let it write a word");
  const line = h("button", { type: "button", onclick: () => goOn("line", line) }, "Let it write a line");
  const rows = Array.from({ length: 10 }, (_, index) => offer(index));
  const list = h("ol", { class: "offers" }, rows.map((row) => row.item));
  let before = []; // texts to go back to
  let typing = false;
  let turn = 0;
  let waiting = 0;
  let open = false;
  let seen = ""; // the text as it was before the last key

  function offer(index) {
    const name = h("span", { class: "name", dir: "auto" });
    const share = h("span", { class: "share" });
    const bar = h("span", { class: "bar", "aria-hidden": "true" });
    const said = h("span", { class: "unseen" });
    const button = h("button", { type: "button", class: "offer", onclick: () => take(index) },
      h("kbd", { "aria-hidden": "true" }, String((index + 1) % 10)), said, name, h("span", { class: "track", "aria-hidden": "true" }, bar), share);
    name.setAttribute("aria-hidden", "true");
    return { item: h("li", { hidden: true }, button), button, name, share, bar, said, character: null };
  }

  const complain = (error) => {
    wrong.textContent = error ? error.message : "";
    wrong.hidden = !error;
  };

  function later(milliseconds) {
    clearTimeout(waiting);
    turn += 1;
    list.setAttribute("aria-busy", "true");
    waiting = setTimeout(predict, milliseconds);
  }

  async function predict() {
    if (!open) return;
    const own = (turn += 1);
    try {
      const { choices, unseen } = await page.ask("predict", { text: text.value, temperature: temperature.read() });
      if (own !== turn) return;
      complain(null);
      note.textContent = strangeness(unseen);
      note.hidden = !unseen;
      show(choices);
    } catch (error) {
      if (own !== turn) return;
      complain(error);
      show([]);
    }
  }

  function show(choices) {
    list.removeAttribute("aria-busy");
    rows.forEach((row, index) => {
      const choice = choices[index];
      row.item.hidden = !choice;
      row.character = choice?.character ?? null;
      if (!choice) return;
      const name = visible(choice.character);
      const share = choice.probability < 0.001 ? "< 0.1 %" : `${number(100 * choice.probability, 1)} %`;
      row.name.textContent = name;
      row.name.classList.toggle("named", name.length > 2);
      row.share.textContent = share;
      row.said.textContent = `Take ${name},`;
      row.bar.style.width = `${100 * choice.probability}%`;
    });
  }

  function change(now) {
    before.push(text.value);
    undo.disabled = false;
    typing = false;
    text.value = seen = now;
    text.scrollTop = text.scrollHeight;
    later(0);
  }

  function take(index) {
    const { character } = rows[index];
    if (character === null || list.hasAttribute("aria-busy")) return; // what is offered is about to be another
    change(text.value + character);
    page.say(`${visible(character)} taken`);
  }

  function takeBack() {
    if (!before.length) return;
    text.value = seen = before.pop();
    typing = false;
    undo.disabled = !before.length;
    if (undo.disabled) text.focus();
    later(0);
  }

  async function goOn(until, button) {
    const begun = text.value;
    const focused = document.activeElement === button;
    const more = await page.during(button, page.ask("go_on", { text: begun, temperature: temperature.read(), until }));
    if (focused) button.focus();
    if (more === undefined) return;
    change(text.value + more);
    page.say(more);
  }

  text.addEventListener("input", () => {
    if (!typing) {
      before.push(seen);
      undo.disabled = false;
      typing = true;
    }
    seen = text.value;
    later(300);
  });

  const keys = (event) => {
    if (!open || event.ctrlKey || event.altKey || event.metaKey || !/^[0-9]$/.test(event.key)) return;
    if (event.target.closest?.("input:not([type=range]), textarea, select")) return;
    event.preventDefault();
    event.stopPropagation();
    take((Number(event.key) + 9) % 10);
  };
  const heard = served() ? document : page.root;
  heard.addEventListener("keydown", keys);
  page.onEnd(() => heard.removeEventListener("keydown", keys));
  page.onEnd(() => clearTimeout(waiting));

  return {
    element: h("div", { class: "together" },
      h("div", { class: "stack" }, box, note,
        h("div", { class: "row" }, word, line, undo,
          copyButton(page, () => text.value, "the text"), downloadButton(() => text.value, () => shared.name(), "the text")),
        h("div", { class: "narrow" }, temperature), wrong),
      h("section", { "aria-label": "What may come next" },
        h("h3", {}, "What may come next"), list,
        h("p", { class: "hint" }, "Click one to take it. Where you are not writing, the number keys take it too."))),
    shown() {
      open = true;
      if (!text.value && !before.length) text.value = seen = shared.prompt() || shared.written();
      later(0);
    },
    hidden() {
      open = false;
    },
    reset(sampling) {
      before = [];
      undo.disabled = true;
      typing = false;
      text.value = seen = "";
      temperature.set(sampling.temperature ?? 0.8);
      complain(null);
      show([]);
    },
  };
}
