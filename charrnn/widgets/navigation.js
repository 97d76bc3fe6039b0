// The bar above the views. On our own page the open place is part of the address, so that a reload finds it again.

const PLACES = [["models", "Models"], ["new", "New model"], ["training", "Training"], ["writing", "Writing"], ["compare", "Compare"]];
const OF_ONE = new Set(["training", "writing"]); // these show one model

export default {
  render: view((page) => {
    const ours = served() !== null;
    const chosen = h("p", { class: "chosen quiet", dir: "auto" });
    const links = new Map();
    const open = (place) => page.go(place, OF_ONE.has(place) ? (page.state().id ?? null) : null);
    for (const [place, name] of PLACES) {
      links.set(place, h("button", { type: "button", class: "place", onclick: () => open(place) }, name));
    }
    page.root.append(h("nav", { "aria-label": "Places" }, h("span", { class: "brand" }, "charrnn"), [...links.values()], chosen));

    const address = ({ place, at }) => `#${place}${at ? `/${at}` : ""}`;
    const follow = () => {
      const [place, id] = location.hash.slice(1).split("/");
      if (links.has(place) && location.hash !== address(page.state())) page.go(place, id || null);
    };
    let wanted = ours && location.hash.length > 1; // the address asks for a place of its own
    page.onState((state) => {
      for (const [place, link] of links) {
        if (place === state.place) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
        link.disabled = OF_ONE.has(place) && !state.id;
        link.title = link.disabled ? "Choose a model first" : "";
      }
      chosen.textContent = chosen.title = state.name ?? "";
      chosen.hidden = !state.name;
      if (ours && state.place && !wanted && location.hash !== address(state)) {
        history[location.hash ? "pushState" : "replaceState"](null, "", address(state));
      }
    });
    if (ours) {
      if (wanted) {
        wanted = false;
        follow();
      }
      window.addEventListener("hashchange", follow);
      page.onEnd(() => window.removeEventListener("hashchange", follow));
    }
  }),
};
