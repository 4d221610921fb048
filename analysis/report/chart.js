"use strict";
// The chart: reads the measurements inside this page, draws the lines that are chosen, and says what is pointed at.
(() => {
  const form = document.getElementById("controls");
  if (!form) return;
  const data = JSON.parse(document.getElementById("measurements").textContent);
  const field = form.elements;
  const svg = document.getElementById("lines");
  const hover = document.getElementById("hover");
  const spoken = document.getElementById("spoken");
  const MOST_AT_FIRST = 12;
  const SOME = 8;
  const DASHES = ["", "6 3", "2 3"];
  const NUM_COLOURS = 8;
  const MARGIN = { left: 58, right: 14, top: 30, bottom: 44 };

  // ---- the measurements -------------------------------------------------------------------------------------------

  const severalDatasets = new Set(data.trials.map((trial) => trial.dataset)).size > 1;
  const networkOf = data.trials.map((trial) => (severalDatasets ? `${trial.network}, ${trial.dataset}` : trial.network));
  const networks = [...new Set(networkOf)];
  const blocks = data.blocks.map(([trial, metric, level, split, epochs, layers, values]) => ({
    trial, metric, level, split, values, epochs: data.epochs[epochs], layers: data.layers[layers],
  }));

  const name = (value) => value.replaceAll("_", " ");
  const isAccuracy = () => data.metrics[chosen("metric")].includes("accuracy");
  const chosen = (control) => Number(field[control].value);
  const byAxis = () => field.axis.value;
  const matching = (...keys) => blocks.filter((block) => keys.every((key) => block[key] === chosen(key)));
  const unique = (values) => [...new Set(values)].sort((a, b) => a - b);

  /** What guessing scores at the chosen level, or null where that is not known. */
  function chance() {
    const metric = data.metrics.indexOf("num_classes");
    const found = blocks.find((block) => block.metric === metric && block.level === chosen("level"));
    const count = found && found.values.find((value) => value > 0);
    return isAccuracy() && count ? 1 / count : null;
  }

  /** The points of one block on the chosen axis: {x, title, y}. */
  function points(block) {
    const width = block.layers.length;
    if (byAxis() === "layer") {
      const wanted = field.epoch.value;
      const row = wanted === "last" ? block.epochs.length - 1 : block.epochs.indexOf(Number(wanted));
      if (row < 0) return [];
      return block.layers.map(([x, title], i) => ({
        x, title: `layer ${x} (${title}), epoch ${block.epochs[row]}`, y: block.values[row * width + i],
      }));
    }
    const column = block.layers.findIndex(([, title]) => title === field.layer.value);
    if (column < 0) return [];
    return block.epochs
      .map((x, i) => ({ x, title: `epoch ${x}`, y: block.values[i * width + column] }))
      .filter(({ x }) => x >= chosen("from") && x <= chosen("to"));
  }

  /** The lines to draw, of the chosen networks: {name, network, points: [{x, title, y, low, high, count}]}. */
  function lines() {
    const shown = new Set(selected());
    const found = new Map();
    for (const block of matching("metric", "level", "split")) {
      const network = networkOf[block.trial];
      if (!shown.has(network)) continue;
      const trial = data.trials[block.trial];
      const title = field.mean.checked ? network : `${network}, seed ${trial.seed}`;
      const key = field.mean.checked ? network : `${title} ${trial.key} ${trial.dataset}`;
      if (!found.has(key)) found.set(key, { name: title, network, at: new Map() });
      const at = found.get(key).at;
      for (const point of points(block)) {
        if (point.y === null) continue;
        if (!at.has(point.x)) at.set(point.x, { x: point.x, title: point.title, values: [] });
        at.get(point.x).values.push(point.y);
      }
    }
    return [...found.values()]
      .map(({ name, network, at }) => ({ name, network, points: [...at.values()].sort((a, b) => a.x - b.x).map(mean) }))
      .filter((line) => line.points.length)
      .sort((a, b) => networks.indexOf(a.network) - networks.indexOf(b.network));
  }

  function mean({ x, title, values }) {
    const y = values.reduce((sum, value) => sum + value, 0) / values.length;
    return { x, title, y, low: Math.min(...values), high: Math.max(...values), count: values.length };
  }

  // ---- the controls -----------------------------------------------------------------------------------------------

  /** Fills a select with [value, text] pairs; keeps what was chosen where it is still there. */
  function fill(control, options, first) {
    const select = field[control];
    const before = select.value;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    const values = options.map(([value]) => String(value));
    select.value = [before, String(first), values[0]].find((value) => values.includes(value)) ?? "";
  }

  const named = (list, positions) => positions.map((i) => [i, name(list[i])]);

  /** Offers only what is measured. */
  function offer() {
    fill("metric", named(data.metrics, unique(blocks.map((block) => block.metric))), data.metrics.indexOf(data.first.metric));
    fill("level", named(data.levels, unique(matching("metric").map((block) => block.level))), data.levels.indexOf("class"));
    fill("split", named(data.splits, unique(matching("metric", "level").map((block) => block.split))), data.splits.indexOf(data.first.split));
    const found = matching("metric", "level", "split");
    const layers = new Map();
    for (const block of found) for (const [index, title] of block.layers) layers.set(title, (layers.get(title) ?? new Set()).add(index));
    const highest = (title) => Math.max(...layers.get(title));
    const titles = [...layers.keys()].sort((a, b) => highest(a) - highest(b));
    fill("layer", titles.map((title) => [title, `${unique([...layers.get(title)]).join("/")} ${title}`]), titles.at(-1));
    const epochs = unique(found.flatMap((block) => block.epochs));
    const texts = epochs.map((epoch) => [epoch, String(epoch)]);
    fill("from", texts, epochs[0]);
    fill("to", texts, epochs.at(-1));
    fill("epoch", [["last", "the last"], ...texts], "last");
    for (const label of form.querySelectorAll("[data-axis]")) label.hidden = label.dataset.axis !== byAxis();
  }

  const boxes = networks.map((network) => {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.value = network;
    return box;
  });

  function offerNetworks() {
    const step = (networks.length - 1) / (SOME - 1);
    const some = new Set(Array.from({ length: SOME }, (_, i) => Math.round(i * step)));
    const labels = boxes.map((box, i) => {
      box.checked = networks.length <= MOST_AT_FIRST || some.has(i);
      const label = document.createElement("label");
      const swatch = element("svg", { viewBox: "0 0 28 10", "aria-hidden": "true" });
      swatch.append(element("line", { x1: 0, x2: 28, y1: 5, y2: 5, "stroke-width": 3 }));
      label.append(box, swatch, box.value);
      return label;
    });
    document.getElementById("networks").replaceChildren(...labels);
    const choose = (checked) => {
      for (const box of boxes) if (!box.parentElement.hidden) box.checked = checked;
      draw();
    };
    document.getElementById("all").addEventListener("click", () => choose(true));
    document.getElementById("none").addEventListener("click", () => choose(false));
    const filter = document.getElementById("filter");
    filter.parentElement.hidden = networks.length <= MOST_AT_FIRST;
    filter.addEventListener("input", () => {
      for (const box of boxes) box.parentElement.hidden = !box.value.toLowerCase().includes(filter.value.toLowerCase());
    });
    document.getElementById("networks").addEventListener("change", draw);
  }

  const selected = () => boxes.filter((box) => box.checked).map((box) => box.value);

  /** Colour and dash by the order among the chosen networks, so that few of them never look alike. */
  function look(network) {
    const i = selected().indexOf(network);
    return { stroke: `var(--c${i % NUM_COLOURS})`, dash: DASHES[Math.floor(i / NUM_COLOURS) % DASHES.length] };
  }

  // ---- drawing ----------------------------------------------------------------------------------------------------

  function element(tag, attributes = {}, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  }

  /** Round numbers from low to high, about `count` of them. */
  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
    return found;
  }

  function shownValue(y) {
    return isAccuracy() ? `${(100 * y).toFixed(2)} %` : Number(y.toPrecision(4)).toString();
  }

  let drawn = { lines: [], x: null, y: null };
  let at = null; // [line, point] that is pointed at

  function draw() {
    at = null;
    hover.hidden = true;
    const found = lines();
    drawn = { lines: [], x: null, y: null };
    const width = Math.max(280, svg.parentElement.clientWidth);
    const height = Math.round(Math.min(440, Math.max(300, width * 0.42)));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    const split = data.splits[chosen("split")];
    const level = data.levels[chosen("level")];
    const where = byAxis() === "epoch" ? `, ${field.layer.value}` : "";
    const title = `${name(data.metrics[chosen("metric")])}${isAccuracy() ? " (%)" : ""}: ${level === "none" ? "" : `${level}, `}${split}${where}`;
    svg.append(element("text", { x: 4, y: 16, class: "title" }, title));
    svg.setAttribute("aria-label", `${title}, by ${byAxis()}, ${found.length} lines`);
    if (found.length) plot(found, width, height);
    else svg.append(element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing is measured here, or no network is chosen"));
    paintSwatches();
    if (document.getElementById("numbers").open) list();
  }

  function plot(found, width, height) {
    const all = found.flatMap((line) => line.points);
    const guess = chance();
    const ends = all.flatMap((point) => [point.low, point.high]).concat(guess === null ? [] : [guess]);
    const factor = isAccuracy() ? 100 : 1;
    let [low, high] = ends.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    const air = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    [low, high] = [low - air, high + air];
    const bend = byAxis() === "epoch" && field.log.checked ? (value) => Math.log1p(value) : (value) => value;
    const places = unique(all.map((point) => point.x));
    const [first, last] = [bend(places[0]), bend(places.at(-1))];
    const span = width - MARGIN.left - MARGIN.right;
    const x = (value) => MARGIN.left + (last > first ? ((bend(value) - first) / (last - first)) * span : span / 2);
    const y = (value) => MARGIN.top + ((high - value) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    drawn = { lines: found, x, y };

    for (const tick of ticks(low * factor, high * factor, 6)) {
      const place = y(tick / factor);
      svg.append(element("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: place, y2: place }));
      svg.append(element("text", { x: MARGIN.left - 8, y: place + 4, "text-anchor": "end" }, String(tick)));
    }
    let free = -Infinity;
    for (const place of places) {
      const half = String(place).length * 4 + 5;
      if (x(place) - half < free) continue;
      free = x(place) + half;
      svg.append(element("text", { x: x(place), y: height - MARGIN.bottom + 18, "text-anchor": "middle" }, String(place)));
    }
    svg.append(element("text", { x: MARGIN.left + span / 2, y: height - 6, "text-anchor": "middle" }, byAxis()));
    if (guess !== null) {
      svg.append(element("line", { class: "chance", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(guess), y2: y(guess) }));
      svg.append(element("text", { x: width - MARGIN.right, y: y(guess) - 5, "text-anchor": "end" }, "chance"));
    }
    for (const line of found) drawLine(line, x, y);
    svg.append(element("circle", { class: "at", r: 6, visibility: "hidden" }));
  }

  function drawLine(line, x, y) {
    const { stroke, dash } = look(line.network);
    const path = (points, value) => points.map((point) => `${x(point.x).toFixed(1)} ${y(value(point)).toFixed(1)}`).join("L");
    if (line.points.some((point) => point.count > 1)) {
      const back = [...line.points].reverse();
      const edge = `M${path(line.points, (point) => point.high)}L${path(back, (point) => point.low)}Z`;
      svg.append(element("path", { class: "band", d: edge, style: `fill: ${stroke}` }));
    }
    svg.append(element("path", {
      class: "line", d: `M${path(line.points, (point) => point.y)}`, style: `stroke: ${stroke}`, "stroke-dasharray": dash,
    }));
    for (const point of line.points) {
      svg.append(element("circle", { cx: x(point.x), cy: y(point.y), r: 3, style: `fill: ${stroke}` }));
    }
  }

  function paintSwatches() {
    for (const box of boxes) {
      const line = box.parentElement.querySelector("line");
      const { stroke, dash } = look(box.value);
      line.setAttribute("style", box.checked ? `stroke: ${stroke}` : "stroke: none");
      line.setAttribute("stroke-dasharray", dash);
    }
  }

  // ---- pointing ---------------------------------------------------------------------------------------------------

  function point(lineAt, pointAt) {
    at = [lineAt, pointAt];
    const line = drawn.lines[lineAt];
    const found = line.points[pointAt];
    const mark = svg.querySelector(".at");
    mark.setAttribute("cx", drawn.x(found.x));
    mark.setAttribute("cy", drawn.y(found.y));
    mark.setAttribute("style", `fill: ${look(line.network).stroke}`);
    mark.setAttribute("visibility", "visible");
    const seeds = found.count > 1 ? `, mean of ${found.count} seeds, ${shownValue(found.low)} to ${shownValue(found.high)}` : "";
    const title = document.createElement("b");
    title.textContent = line.name;
    const text = `${found.title}: ${shownValue(found.y)}${seeds}`;
    hover.replaceChildren(title, text);
    hover.hidden = false;
    const scale = svg.clientWidth / svg.viewBox.baseVal.width;
    const left = drawn.x(found.x) * scale + 14;
    const room = svg.clientWidth - hover.offsetWidth;
    hover.style.left = `${Math.max(0, left > room ? Math.min(room, left - 28 - hover.offsetWidth) : left)}px`;
    hover.style.top = `${Math.max(0, drawn.y(found.y) * scale - hover.offsetHeight - 10)}px`;
    return `${line.name}, ${text}`;
  }

  function leave() {
    at = null;
    hover.hidden = true;
    svg.querySelector(".at")?.setAttribute("visibility", "hidden");
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const [px, py] = [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale];
    let nearest = null;
    let least = 60 ** 2;
    drawn.lines.forEach((line, i) => line.points.forEach((one, j) => {
      const away = (drawn.x(one.x) - px) ** 2 + (drawn.y(one.y) - py) ** 2;
      if (away < least) [least, nearest] = [away, [i, j]];
    }));
    if (nearest) point(...nearest);
    else leave();
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);

  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return leave();
    const step = STEPS[event.key];
    if (!step || !drawn.lines.length) return;
    event.preventDefault();
    const line = at ? Math.min(drawn.lines.length - 1, Math.max(0, at[0] + step[0])) : 0;
    const last = drawn.lines[line].points.length - 1;
    spoken.textContent = point(line, at ? Math.min(last, Math.max(0, at[1] + step[1])) : 0);
  });

  // ---- the numbers ------------------------------------------------------------------------------------------------

  function list() {
    const head = document.createElement("tr");
    const cell = (tag, text, scope) => {
      const made = document.createElement(tag);
      made.textContent = text;
      if (scope) made.scope = scope;
      if (tag === "td") made.className = "number";
      return made;
    };
    head.append(cell("th", byAxis(), "col"), ...drawn.lines.map((line) => cell("th", line.name, "col")));
    const places = unique(drawn.lines.flatMap((line) => line.points.map((one) => one.x)));
    const rows = places.map((place) => {
      const row = document.createElement("tr");
      const cells = drawn.lines.map((line) => line.points.find((one) => one.x === place));
      row.append(cell("th", place, "row"), ...cells.map((one) => cell("td", one ? shownValue(one.y) : "–")));
      return row;
    });
    const [top, body] = [document.createElement("thead"), document.createElement("tbody")];
    top.append(head);
    body.append(...rows);
    document.querySelector("#numbers table").replaceChildren(top, body);
  }

  // ---- the start --------------------------------------------------------------------------------------------------

  const seedsOf = new Map();
  networkOf.forEach((network) => seedsOf.set(network, (seedsOf.get(network) ?? 0) + 1));
  field.mean.parentElement.hidden = Math.max(...seedsOf.values()) < 2;
  if (data.shown < data.total) {
    const rule = document.getElementById("rule");
    rule.hidden = false;
    rule.textContent = `The chart has ${data.shown} of ${data.total} measurements. ${data.rule}`;
  }
  offerNetworks();
  offer();
  draw();
  form.addEventListener("change", () => { offer(); draw(); });
  document.getElementById("numbers").addEventListener("toggle", list);
  let before = svg.parentElement.clientWidth;
  new ResizeObserver(() => {
    if (svg.parentElement.clientWidth === before) return;
    before = svg.parentElement.clientWidth;
    draw();
  }).observe(svg.parentElement);

  // Paper cannot be unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });
})();
