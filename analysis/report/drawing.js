// Draws the chosen lines.
const svg = document.getElementById("lines");
const hover = document.getElementById("hover");
const MARGIN = { left: 58, right: 14, top: 30, bottom: 44 };
const APART = 14; // pixels between the markers of a line; points between them are small
const SIDE_BY_SIDE = 7; // pixels between points that stand alone at one place

let drawn = { lines: [], place: null }; // and where a line's point is: [x, y]
let at = null; // [line, point] that is pointed at

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

/** Round numbers from low to high, above 0, for a logarithmic axis: powers of ten where these are enough. */
function decades(low, high) {
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) powers.push(power);
  for (const leading of [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]]) {
    const found = powers.flatMap((power) => leading.map((first) => Number((first * 10 ** power).toPrecision(2))));
    const within = found.filter((tick) => tick >= low && tick <= high);
    if (within.length >= 4) return within;
  }
  return ticks(low, high, 6).filter((tick) => tick > 0);
}

function shownValue(y) {
  return isAccuracy() ? `${(100 * y).toFixed(2)} %` : Number(y.toPrecision(4)).toString();
}

function draw() {
  at = null;
  hover.hidden = true;
  const shown = new Set(selected());
  const found = linesOf(shown);
  drawn = { lines: [], place: null };
  const width = Math.max(280, svg.parentElement.clientWidth);
  const height = Math.round(Math.min(440, Math.max(300, width * 0.42)));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const split = data.splits[chosen("split")];
  const level = data.levels[chosen("level")];
  const where = byLayer() ? "" : `, ${field.layer.value}`;
  const title = `${metricName()}${unit(data.metrics[chosen("metric")])}: ${level === "none" ? "" : `${level}, `}${split}${where}`;
  svg.append(element("text", { x: 4, y: 16, class: "title" }, title));
  svg.setAttribute("aria-label", `${title}, by ${byLayer() ? "layer" : time}, ${found.length} lines`);
  const [short, long] = remarks(found, shown);
  if (found.length) plot(found, width, height);
  else svg.append(element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, short));
  document.getElementById("remark").textContent = long;
  document.getElementById("remark").hidden = !long;
  paintSwatches();
  count();
  if (document.getElementById("numbers").open) list();
}

/** What is said where nothing can be drawn, and below the chart. */
function remarks(found, shown) {
  if (!shown.size) return [`no ${form.dataset.lines} are chosen`, ""];
  const measured = matching("metric", "level", "split").filter((block) => shown.has(networkOf[block.trial]));
  if (byLayer() && measured.length && !measured.some((block) => block.layers.some(isLayer))) {
    return [
      `${metricName()} has no layers`,
      `${metricName()} has no layers: it is a number of the whole network. Choose ${time} as the horizontal axis.`,
    ];
  }
  const words = [];
  const alone = found.filter((line) => line.alone);
  if (alone.length) {
    const points = alone.flatMap((line) => line.points);
    const many = alone.some((line) => line.points.length > 1) ? "two layers" : "one layer";
    const where = byLayer()
      ? `in ${many} of a network (${[...new Set(points.map((point) => point.layer))].join(", ")})`
      : `at one ${time} (${unique(points.map((point) => point.x)).join(", ")})`;
    words.push(`${metricName()} is shown ${where} alone: points, with bars from the lowest to the highest seed where there are several.`);
  }
  const lacking = shown.size - new Set(found.map((line) => line.network)).size;
  if (found.length && lacking) words.push(`Not measured here: ${lacking} of the ${shown.size} ${form.dataset.lines} chosen.`);
  return ["nothing is measured here", words.join(" ")];
}

function plot(found, width, height) {
  const all = found.flatMap((line) => line.points);
  const guessed = guess();
  const ends = all.flatMap((point) => [point.low, point.high]).concat(guessed === null ? [] : [guessed.share]);
  const factor = isAccuracy() ? 100 : 1;
  let [low, high] = ends.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  field.decades.parentElement.hidden = low <= 0;
  const scale = field.decades.checked && low > 0 ? Math.log10 : (value) => value;
  [low, high] = [scale(low), scale(high)];
  const air = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  [low, high] = [low - air, high + air];
  const bend = !byLayer() && field.log.checked ? (value) => Math.log1p(value) : (value) => value;
  const places = unique(all.map((point) => point.x));
  const alone = found.filter((line) => line.alone);
  const aside = Math.min(SIDE_BY_SIDE, 120 / alone.length);
  const inset = alone.length ? (alone.length * aside) / 2 + 6 : 0;
  const [first, last] = [bend(places[0]), bend(places.at(-1))];
  const span = width - MARGIN.left - MARGIN.right;
  const inner = span - 2 * inset;
  const x = (value) => MARGIN.left + inset + (last > first ? ((bend(value) - first) / (last - first)) * inner : inner / 2);
  const y = (value) => MARGIN.top + ((high - scale(value)) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
  const shift = (line) => (line.alone ? (alone.indexOf(line) - (alone.length - 1) / 2) * aside : 0);
  drawn = { lines: found, place: (line, point) => [x(point.x) + shift(line), y(point.y)] };

  const marks = scale === Math.log10 ? decades(10 ** low * factor, 10 ** high * factor) : ticks(low * factor, high * factor, 6);
  for (const tick of marks) {
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
  const name = byLayer() ? "layer" : time;
  svg.append(element("text", { x: MARGIN.left + span / 2, y: height - 6, "text-anchor": "middle", class: "axis" }, name));
  if (guessed !== null) {
    const place = y(guessed.share);
    svg.append(element("line", { class: "chance", x1: MARGIN.left, x2: width - MARGIN.right, y1: place, y2: place }));
  }
  for (const line of found) drawLine(line, y);
  if (guessed !== null) {
    const words = { class: "guess", x: width - MARGIN.right, y: y(guessed.share) - 5, "text-anchor": "end" };
    svg.append(element("text", words, guessed.words));
  }
  svg.append(element("circle", { class: "at", r: 6, visibility: "hidden" }));
}

function drawLine(line, y) {
  const { colour, dash, marker } = look(line.network);
  const group = element("g", { style: `color: ${colour}` });
  const path = (points, value) => points
    .map((point) => `${drawn.place(line, point)[0].toFixed(1)} ${y(value(point)).toFixed(1)}`)
    .join("L");
  if (line.alone) {
    for (const point of line.points.filter(({ count }) => count > 1)) {
      group.append(element("path", { class: "bar", d: `M${path([point], () => point.low)}L${path([point], () => point.high)}` }));
    }
  } else {
    if (line.points.some((point) => point.count > 1)) {
      const back = [...line.points].reverse();
      const edge = `M${path(line.points, (point) => point.high)}L${path(back, (point) => point.low)}Z`;
      group.append(element("path", { class: "band", d: edge }));
    }
    group.append(element("path", { class: "line", d: `M${path(line.points, (point) => point.y)}`, "stroke-dasharray": dash }));
  }
  let free = -Infinity;
  for (const point of line.points) {
    const [px, py] = drawn.place(line, point);
    if (px < free) {
      group.append(element("circle", { class: "marker", cx: px, cy: py, r: 1.6 }));
      continue;
    }
    free = px + APART;
    group.append(element("path", { class: "marker", d: marker, transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})` }));
  }
  svg.append(group);
}
