// A line chart: several series over one axis, and lines to compare them with. It knows numbers, not what they mean.

const CHART = { height: 320, left: 58, right: 14, top: 24, bottom: 42 };
const MOST_POINTS = 1000; // of a series that are drawn

/** Round numbers between two, about `count` of them, and one of the `distances` apart where these are large enough. */
function ticks(low, high, count, distances = []) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = distances.find((each) => each >= raw) ?? power * ([1, 2, 5, 10].find((each) => each * power >= raw) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) }, (_, k) => (first + k) * step);
}

/** The points of a long series that matter to the eye: of each stretch its lowest and its highest. */
function thinned(points, most = MOST_POINTS) {
  if (points.length <= most) return points;
  const kept = [points[0]];
  const size = (2 * points.length) / most;
  for (let start = 0; start < points.length; start += size) {
    const piece = points.slice(Math.floor(start), Math.max(Math.floor(start) + 1, Math.floor(start + size)));
    const low = piece.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = piece.reduce((a, b) => (b[1] > a[1] ? b : a));
    kept.push(...(low[0] < high[0] ? [low, high] : [high, low]));
  }
  kept.push(points.at(-1));
  return kept;
}

/**
 * A chart that is as wide as there is room. `show({ series, lines, x, y })` draws
 *   series  [{ name, points: [[x, y], …] }] in the order of x; each has a colour and a dash pattern of its own
 *   lines   [{ name, y }] right across
 *   x, y    { name, write(value) }
 * `element` goes into the page, `png()` promises a picture of it.
 */
function chart(name) {
  let shown = { series: [], lines: [], x: { name: "", write: String }, y: { name: "", write: String } };
  let places = []; // of every x that has a point: { x, at: pixels }
  let chosen = -1;
  const drawing = svg("svg", { role: "img", "aria-label": name });
  const legend = h("ul", { class: "legend" });
  const reading = h("p", { class: "reading hint", "aria-live": "polite" });
  const frame = h("div", { class: "frame", tabindex: 0, role: "group", "aria-label": `${name}. Left and right arrows read it.` }, drawing);
  const element = h("figure", { class: "chart" }, legend, frame, reading);
  const width = () => Math.max(220, frame.clientWidth || 600);

  function draw() {
    const { series, lines, x, y } = shown;
    const all = series.flatMap(({ points }) => points);
    const [wide, high] = [width(), CHART.height];
    drawing.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    drawing.setAttribute("width", wide);
    drawing.setAttribute("height", high);
    drawing.replaceChildren();
    frame.hidden = !all.length;
    if (!all.length) return;
    const values = [...all.map((point) => point[1]), ...lines.map((line) => line.y)];
    let low = values.reduce((a, b) => Math.min(a, b));
    let top = values.reduce((a, b) => Math.max(a, b));
    const room = (top - low || Math.abs(top) || 1) * 0.06;
    [low, top] = [low >= 0 ? Math.max(0, low - room) : low - room, top + room];
    const [first, last] = [Math.min(0, all[0][0]), all.reduce((most, point) => Math.max(most, point[0]), -Infinity)];
    const right = wide - CHART.right;
    const floor = high - CHART.bottom;
    const across = (value) => CHART.left + ((value - first) / (last - first || 1)) * (right - CHART.left);
    const up = (value) => floor - ((value - low) / (top - low)) * (floor - CHART.top);
    for (const value of ticks(low, top, 5)) {
      const at = up(value);
      drawing.append(
        svg("line", { class: "grid", x1: CHART.left, x2: right, y1: at, y2: at }),
        svg("text", { class: "tick", x: CHART.left - 8, y: at + 4, "text-anchor": "end" }, y.write(value)),
      );
    }
    for (const value of ticks(first, last, Math.max(2, Math.floor(wide / 110)), x.distances)) {
      drawing.append(
        svg("line", { class: "grid", x1: across(value), x2: across(value), y1: CHART.top, y2: floor }),
        svg("text", { class: "tick", x: across(value), y: floor + 18, "text-anchor": "middle" }, x.write(value)),
      );
    }
    drawing.append(
      svg("line", { class: "axis", x1: CHART.left, x2: right, y1: floor, y2: floor }),
      svg("text", { class: "tick", x: right, y: high - 4, "text-anchor": "end" }, x.name),
      svg("text", { class: "tick", x: 2, y: 11 }, y.name),
    );
    let above = Infinity;
    for (const line of [...lines].sort((a, b) => a.y - b.y)) {
      const at = up(line.y);
      drawing.append(svg("line", { class: "beat", x1: CHART.left, x2: right, y1: at, y2: at }));
      if (above - at > 14) {
        drawing.append(svg("text", { class: "beat-name", x: right - 4, y: at - 5, "text-anchor": "end" }, line.name));
        above = at;
      }
    }
    series.forEach(({ points }, k) => {
      if (!points.length) return;
      const path = thinned(points).map(([a, b], at) => `${at ? "L" : "M"}${across(a).toFixed(1)} ${up(b).toFixed(1)}`);
      drawing.append(svg("path", { class: `series s${k % 6}`, d: path.join("") }));
      if (points.length < 30) {
        drawing.append(...points.map(([a, b]) => svg("circle", { class: `dot s${k % 6}`, cx: across(a), cy: up(b), r: 2.5 })));
      }
    });
    places = [...new Set(all.map((point) => point[0]))].sort((a, b) => a - b).map((value) => ({ value, at: across(value) }));
    const latest = series.filter(({ points }) => points.length).map((each) => `${each.name} ${y.write(each.points.at(-1)[1])}`);
    drawing.setAttribute("aria-label", `${name}: now ${latest.join(", ")}. ${lines.map((line) => `${line.name}: ${y.write(line.y)}`).join(", ")}`);
    mark();
  }

  /** Show what stands at the chosen place. */
  function mark() {
    drawing.querySelector(".mark")?.remove();
    const place = places[chosen];
    if (!place) {
      reading.textContent = "";
      return;
    }
    drawing.append(svg("line", { class: "mark", x1: place.at, x2: place.at, y1: CHART.top, y2: CHART.height - CHART.bottom }));
    const { series, x, y } = shown;
    const there = series.flatMap(({ name: of, points }) => {
      const point = points.findLast((each) => each[0] <= place.value);
      return point ? [`${of} ${y.write(point[1])}`] : [];
    });
    reading.textContent = `${x.name} ${x.write(place.value)}: ${there.join(", ")}`;
  }

  function choose(place) {
    chosen = Math.max(0, Math.min(places.length - 1, place));
    mark();
  }

  frame.addEventListener("pointermove", (event) => {
    const at = event.clientX - drawing.getBoundingClientRect().left;
    let nearest = 0;
    places.forEach((place, k) => {
      if (Math.abs(place.at - at) < Math.abs(places[nearest].at - at)) nearest = k;
    });
    if (places.length) choose(nearest);
  });
  const leave = () => {
    chosen = -1;
    mark();
  };
  frame.addEventListener("pointerleave", leave);
  frame.addEventListener("blur", leave);
  frame.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !places.length) return;
    event.preventDefault();
    const from = chosen < 0 ? places.length : chosen;
    choose(moves[event.key] === Infinity ? places.length - 1 : moves[event.key] === -Infinity ? 0 : from + moves[event.key]);
  });
  const sizes = new ResizeObserver(draw);
  sizes.observe(frame);

  return {
    element,
    show(next) {
      const names = (of) => JSON.stringify(of.series.map((each) => each.name));
      const renamed = names(shown) !== names(next);
      shown = next;
      if (renamed) {
        legend.replaceChildren(
          ...next.series.map((each, k) => {
            const swatch = svg("svg", { width: 28, height: 10, "aria-hidden": true });
            swatch.append(svg("line", { class: `series s${k % 6}`, x1: 1, x2: 27, y1: 5, y2: 5 }));
            return h("li", {}, swatch, h("span", { dir: "auto" }, each.name));
          }),
        );
      }
      draw();
    },
    close: () => sizes.disconnect(),
    png: () => picture(drawing, shown.series.map((each) => each.name)),
  };
}

/** A drawing as a PNG, with the colours that it has now and a legend below. */
async function picture(drawing, names) {
  const copy = drawing.cloneNode(true);
  const properties = ["stroke", "stroke-width", "stroke-dasharray", "fill", "font-family", "font-size", "opacity"];
  const pairs = (a, b) => {
    const style = getComputedStyle(a);
    properties.forEach((property) => b.style.setProperty(property, style.getPropertyValue(property)));
    [...a.children].forEach((child, k) => pairs(child, b.children[k]));
  };
  pairs(drawing, copy);
  const [wide, high] = [Number(drawing.getAttribute("width")), Number(drawing.getAttribute("height"))];
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  const paper = document.createElement("canvas");
  [paper.width, paper.height] = [2 * wide, 2 * (high + 26)];
  const pen = paper.getContext("2d");
  const root = drawing.closest(".charrnn");
  pen.scale(2, 2);
  pen.fillStyle = getComputedStyle(root).backgroundColor;
  pen.fillRect(0, 0, wide, high + 26);
  pen.drawImage(image, 0, 0);
  pen.font = "13px sans-serif";
  let left = CHART.left;
  names.forEach((name, k) => {
    const line = drawing.querySelector(`.series.s${k % 6}`);
    if (!line) return;
    pen.fillStyle = getComputedStyle(line).stroke;
    pen.fillText(`— ${name}`, left, high + 14);
    left += pen.measureText(`— ${name}`).width + 24;
  });
  return new Promise((resolve) => paper.toBlob(resolve, "image/png"));
}

// --- losses ----------------------------------------------------------------------------------------------------------

/** Units of a loss that is given in nats per character, and how each is written. */
const UNITS = new Map([
  ["nats", { name: "nats per character", of: (nats) => nats, digits: 2 }],
  ["bits", { name: "bits per character", of: (nats) => nats / Math.LN2, digits: 2 }],
  ["perplexity", { name: "perplexity: as if guessing among so many", of: Math.exp, digits: 1 }],
]);

/** What a loss can be drawn over. */
const AXES = new Map([
  ["seconds", { name: "time", write: duration, distances: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600] }],
  ["step", { name: "steps", write: (value) => number(value), distances: [1] }],
  ["epoch", { name: "epochs", write: (value) => number(value, value < 10 && value % 1 ? 1 : 0) }],
]);

/** A loss as text. */
const written = (nats, unit) => number(UNITS.get(unit).of(nats), UNITS.get(unit).digits);

/** Points of a field of metrics over one of the axes. */
const points = (metrics, field, axis, unit) =>
  metrics.filter((each) => each[field] !== null && each[axis] !== null).map((each) => [each[axis], UNITS.get(unit).of(each[field])]);

/** What this browser remembers under a name; null where it remembers nothing, or may not. */
function remembered(name) {
  try {
    return localStorage.getItem(`charrnn-${name}`);
  } catch {
    return null;
  }
}

/** Remember it, if the browser lets us. */
function remember(name, value) {
  try {
    localStorage.setItem(`charrnn-${name}`, value);
  } catch {
    // then it is chosen anew the next time
  }
}

/**
 * The two choices of how losses are shown: `element`, `unit()` and `axis()`; `changed()` is called after each change.
 * The browser remembers them, for every view.
 */
function lossChoices(changed) {
  const select = (entries, label) => {
    const chosen = () => {
      remember(label, control.value);
      changed();
    };
    const control = h("select", { onchange: chosen }, entries.map(([value, text]) => h("option", { value }, text)));
    if (entries.some(([value]) => value === remembered(label))) control.value = remembered(label);
    return { control, box: field(label, control) };
  };
  const unit = select([["nats", "nats"], ["bits", "bits"], ["perplexity", "perplexity"]], "Loss in");
  const axis = select([["seconds", "time"], ["step", "steps"], ["epoch", "epochs"]], "Over");
  return { element: h("div", { class: "row" }, unit.box, axis.box), unit: () => unit.control.value, axis: () => axis.control.value };
}
