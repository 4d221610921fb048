// Which networks are shown, and what tells them apart: colour, marker and dash; marker and dash do without the colour.
const ALL_AT_FIRST = 12;
const SOME = 8;
const NUM_COLOURS = 8;
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const MARKERS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
  "M-3.6-3.6H3.6V3.6H-3.6Z",
  "M0-5L4.8 3.4H-4.8Z",
  "M-1.6-4.8H1.6V-1.6H4.8V1.6H1.6V4.8H-1.6V1.6H-4.8V-1.6H-1.6Z",
  "M0-5.4L5.4 0L0 5.4L-5.4 0Z",
  "M-4.6 0a4.6 4.6 0 1 0 9.2 0a4.6 4.6 0 1 0-9.2 0ZM-2 0a2 2 0 1 1 4 0a2 2 0 1 1-4 0Z",
  "M0 5L4.8-3.4H-4.8Z",
  "M-4.5-2.3L-2.3-4.5L0-2.3L2.3-4.5L4.5-2.3L2.3 0L4.5 2.3L2.3 4.5L0 2.3L-2.3 4.5L-4.5 2.3L-2.3 0Z",
];

/** All where they are few; else the best of each method, and the next best ones up to SOME. */
function firstShown() {
  if (networks.length <= ALL_AT_FIRST) return networks;
  const ranked = data.ranked.map((trial) => networkOf[trial]);
  const methods = new Set(data.trials.map((trial) => `${trial.method} ${trial.dataset}`)).size;
  return ranked.slice(0, Math.min(Math.max(SOME, methods), NUM_COLOURS * DASHES.length));
}

const atFirst = new Set(firstShown());
const boxes = networks.map((network) => {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = network;
  box.checked = atFirst.has(network);
  return box;
});
const selected = () => boxes.filter((box) => box.checked).map((box) => box.value);

/** By the order among the chosen networks, so that few of them never look alike. */
function look(network) {
  const i = selected().indexOf(network);
  const round = Math.floor(i / NUM_COLOURS) % DASHES.length;
  return { colour: `var(--c${i % NUM_COLOURS})`, dash: DASHES[round], marker: MARKERS[(i + 3 * round) % MARKERS.length] };
}

function offerNetworks() {
  const labels = boxes.map((box) => {
    const label = document.createElement("label");
    const swatch = element("svg", { viewBox: "-18 -7 36 14", "aria-hidden": "true" });
    swatch.append(element("line", { x1: -18, x2: 18, y1: 0, y2: 0 }), element("path", { class: "marker" }));
    label.append(box, swatch, box.value);
    return label;
  });
  const list = document.getElementById("networks");
  list.replaceChildren(...labels);
  list.addEventListener("change", draw);
  const choose = (checked) => {
    for (const box of boxes) if (!box.parentElement.hidden) box.checked = checked;
    draw();
  };
  document.getElementById("all").addEventListener("click", () => choose(true));
  document.getElementById("none").addEventListener("click", () => choose(false));
  const filter = document.getElementById("filter");
  filter.parentElement.hidden = networks.length <= ALL_AT_FIRST;
  filter.addEventListener("input", () => {
    for (const box of boxes) box.parentElement.hidden = !box.value.toLowerCase().includes(filter.value.toLowerCase());
  });
}

function paintSwatches() {
  for (const box of boxes) {
    const { colour, dash, marker } = look(box.value);
    const swatch = box.parentElement.querySelector("svg");
    swatch.style.visibility = box.checked ? "visible" : "hidden";
    swatch.style.color = colour;
    swatch.querySelector("line").setAttribute("stroke-dasharray", dash);
    swatch.querySelector("path").setAttribute("d", marker ?? "");
  }
}

/** Says how many are shown where some are not. */
function count() {
  const shown = selected();
  const place = document.getElementById("count");
  place.hidden = shown.length === networks.length;
  const best = shown.length === atFirst.size && shown.every((network) => atFirst.has(network));
  const which = best ? ", the best of each method first" : "";
  place.firstElementChild.textContent = `${shown.length} of ${networks.length} ${form.dataset.lines} shown${which}`;
}
