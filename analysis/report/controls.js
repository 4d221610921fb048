// The selectors: they offer what is measured, and go back to what was chosen last as soon as that is possible again.
const wanted = {}; // by selector, what the reader chose last

/** Fills a select with [value, text] pairs: what the reader chose where it is among them, else the default. */
function fill(control, options, first) {
  const select = field[control];
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  const values = options.map(([value]) => String(value));
  select.value = [wanted[control], String(first), values[0]].find((value) => values.includes(value)) ?? "";
}

const named = (list, positions) => positions.map((i) => [i, spaced(list[i])]);

/** Offers only what is measured. */
function offer() {
  const measured = unique(blocks.map((block) => block.metric));
  const lines = measured.filter((metric) => !isConstant(data.metrics[metric]));
  fill("metric", named(data.metrics, lines.length ? lines : measured), data.metrics.indexOf(data.first.metric));
  fill("level", named(data.levels, unique(matching("metric").map((block) => block.level))), data.levels.indexOf("class"));
  fill("split", named(data.splits, unique(matching("metric", "level").map((block) => block.split))), data.splits.indexOf(data.first.split));
  const found = matching("metric", "level", "split");
  const layers = new Map();
  for (const block of found) for (const [index, title] of block.layers) layers.set(title, (layers.get(title) ?? new Set()).add(index));
  const highest = (title) => Math.max(...layers.get(title));
  const titles = [...layers.keys()].sort((a, b) => highest(a) - highest(b));
  fill("layer", titles.map((title) => [title, isLayer([highest(title)]) ? `${unique([...layers.get(title)]).join("/")} ${title}` : title]), titles.at(-1));
  const epochs = unique(found.flatMap((block) => block.epochs));
  const texts = epochs.map((epoch) => [epoch, String(epoch)]);
  fill("from", texts, epochs[0]);
  fill("to", texts, epochs.at(-1));
  fill("epoch", [["last", "the last"], ...texts], "last");
  for (const label of form.querySelectorAll("[data-axis]")) label.hidden = label.dataset.axis !== field.axis.value;
}

form.addEventListener("change", ({ target }) => {
  if (target.tagName === "SELECT") wanted[target.name] = target.value;
  offer();
  draw();
});
