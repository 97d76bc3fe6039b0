// The list of models.

export default {
  render: view((page) => {
    const list = h("ul");
    page.root.append(h("h2", {}, "Models"), list);
    page.onState(({ models = [] }) => {
      list.replaceChildren(
        ...models.map(({ id, name, status }) =>
          h("li", {}, name, " ", h("span", { class: "badge", "data-status": status }, status), " ",
            h("button", { class: "plain", onclick: () => page.go("training", id) }, "Open")),
        ),
      );
    });
  }),
};
