// The writer: its model, and the ways to write with it, one of which is open.

const WAYS = [
  ["write", "Write", writePanel],
  ["together", "Write together", togetherPanel],
  ["temperatures", "Temperatures", temperaturesPanel],
  ["surprise", "Surprise", surprisePanel],
  ["copying", "Is it copying?", copyingPanel],
];

export default {
  render: view((page) => {
    page.root.classList.add("writer");
    const heading = h("h2", {});
    const note = h("p", { class: "quiet" });
    const invitation = h("div", { class: "card invitation", hidden: true });
    const tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Ways to write" });
    const body = h("div", {});
    const last = { prompt: "", text: "" };
    const panels = {};
    const shared = {
      name: () => page.state().name || "text",
      prompt: () => panels.write.prompt.read(),
      written: () => (last.text ? last.prompt + last.text : ""),
      newText: () => last.text,
      wrote: (prompt, text) => Object.assign(last, { prompt, text }),
    };
    page.root.append(heading, note, invitation, tabs, body);

    const places = WAYS.map(([way, name, make], index) => {
      const panel = (panels[way] = make(page, shared));
      const tab = h("button", { type: "button", role: "tab", id: unique("tab"), "data-way": way, onclick: () => open(index), onkeydown: walk }, name);
      const place = h("div", { role: "tabpanel", id: unique("panel"), "aria-labelledby": tab.id, "data-way": way }, panel.element);
      tab.setAttribute("aria-controls", place.id);
      tabs.append(tab);
      body.append(place);
      return { panel, tab, place };
    });
    let opened = -1;

    function open(chosen, focus = false) {
      if (chosen !== opened) places[opened]?.panel.hidden?.();
      places.forEach(({ tab, place }, index) => {
        tab.setAttribute("aria-selected", String(index === chosen));
        tab.tabIndex = index === chosen ? 0 : -1;
        place.hidden = index !== chosen;
      });
      const { panel, tab } = places[chosen];
      if (focus) tab.focus();
      if (chosen === opened) return;
      opened = chosen;
      if (page.state().ready) panel.shown?.();
    }

    function walk(event) {
      const count = places.length;
      const to = { ArrowRight: (opened + 1) % count, ArrowLeft: (opened + count - 1) % count, Home: 0, End: count - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      open(to, true);
    }

    function invite({ id, name, gone, status, learning }) {
      const to = (place, label, kind) => h("button", { type: "button", class: kind, onclick: () => page.go(place, place === "training" ? id : null) }, label);
      if (id === undefined) return [h("p", {}, "Looking for the model \u2026")];
      if (id === null) return [h("p", {}, "No model is chosen yet. Choose one to write with, or teach a new one."), h("div", { class: "row" }, to("models", "Choose a model", "primary"), to("new", "New model"))];
      if (gone) return [h("p", {}, "This model is not there any more: it was deleted."), h("div", { class: "row" }, to("models", "Choose another", "primary"))];
      const when = learning ? "It writes as soon as it has checked itself for the first time, in a moment." : status === "queued" ? "It waits for its turn to learn." : "Let it learn its text first.";
      return [h("p", {}, h("strong", {}, name), ` has learned nothing yet. ${when}`), h("div", { class: "row" }, to("training", learning ? "Watch it learn" : "Go to its training", "primary"), to("new", "New model"))];
    }

    let shownId; // of the model that the panels are set up for
    let wasReady = false;
    let invited = "";
    open(0);
    page.onState((state) => {
      const { id, name, ready = false, learning, step, gone } = state;
      heading.textContent = ready || (id && !gone) ? `Write with ${name}` : "Write";
      note.textContent = ready && learning ? `It is still learning: this is what it writes after ${number(step)} steps, and each text is written with the newest.` : "";
      note.hidden = !note.textContent;
      tabs.hidden = body.hidden = !ready;
      invitation.hidden = ready;
      const inviting = JSON.stringify([id, name, gone, state.status, learning, ready]);
      if (!ready && inviting !== invited) invitation.replaceChildren(...invite(state));
      invited = inviting;
      panels.copying.follow(state);
      if (id !== undefined && id !== shownId) {
        shownId = id;
        wasReady = false;
        Object.assign(last, { prompt: "", text: "" });
        for (const { panel } of places) panel.reset(state.sampling ?? {});
        open(0);
      }
      if (ready && !wasReady) places[opened].panel.shown?.();
      wasReady = ready;
    });
  }),
};
