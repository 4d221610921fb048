// The measurements inside this page, and the lines of them that are chosen.
const form = document.getElementById("controls");
const data = JSON.parse(document.getElementById("measurements").textContent);
const field = form.elements;
const time = form.dataset.time; // what an epoch is called

const severalDatasets = new Set(data.trials.map((trial) => trial.dataset)).size > 1;
const networkOf = data.trials.map((trial) => (severalDatasets ? `${trial.network}, ${trial.dataset}` : trial.network));
const networks = [...new Set(networkOf)];
const blocks = data.blocks.map(([trial, metric, level, split, epochs, layers, values]) => ({
  trial, metric, level, split, values, epochs: data.epochs[epochs], layers: data.layers[layers],
}));

const spaced = (value) => value.replaceAll("_", " ");
const metricName = () => spaced(data.metrics[chosen("metric")]);
const unit = (metric) => (isAccuracy() ? " (%)" : !/^mi_/.test(metric) ? "" : /_bits$/.test(metric) ? " (bits)" : " (nats)");
/** What is one number of the images or labels is no line. */
const isConstant = (metric) => /^(num_classes|target_(randomness|agreement|entropy|num_used|largest_share))$/.test(metric);
const isAccuracy = () => data.metrics[chosen("metric")].includes("accuracy");
const chosen = (control) => Number(field[control].value);
const byLayer = () => field.axis.value === "layer";
const matching = (...keys) => blocks.filter((block) => keys.every((key) => block[key] === chosen(key)));
const unique = (values) => [...new Set(values)].sort((a, b) => a - b);

/** Numbers below 0 are of the whole network, or of the images. */
const isLayer = ([index]) => index >= 0;

/** The most layers of a network that anything is measured in. */
const numLayers = new Map(networks.map((network) => [network, 0]));
for (const { trial, layers } of blocks) {
  numLayers.set(networkOf[trial], Math.max(numLayers.get(networkOf[trial]), layers.filter(isLayer).length));
}

/** What is reached without looking at the images, at the chosen level: {share, words}, or null where it is not known. */
function guess() {
  if (!isAccuracy()) return null;
  const share = valueOf("target_largest_share", data.splits[chosen("split")]) ?? valueOf("target_largest_share", "test");
  if (share) return { share, words: `most frequent label, ${Number((100 * share).toPrecision(2))} %` };
  const count = valueOf("num_classes", "test");
  return count ? { share: 1 / count, words: "chance" } : null;
}

function valueOf(metric, split) {
  const [wanted, where, level] = [data.metrics.indexOf(metric), data.splits.indexOf(split), chosen("level")];
  const found = blocks.find((block) => block.metric === wanted && block.split === where && block.level === level);
  return found?.values.find((value) => value > 0);
}

/** The points of one block on the chosen axis: {x, title, layer, y}. */
function points(block) {
  const width = block.layers.length;
  if (byLayer()) {
    const wanted = field.epoch.value;
    const row = wanted === "last" ? block.epochs.length - 1 : block.epochs.indexOf(Number(wanted));
    if (row < 0) return [];
    return block.layers
      .map(([x, layer], i) => ({
        x, layer, title: `layer ${x} (${layer}), ${time} ${block.epochs[row]}`, y: block.values[row * width + i],
      }))
      .filter(({ x }) => isLayer([x]));
  }
  const column = block.layers.findIndex(([, title]) => title === field.layer.value);
  if (column < 0) return [];
  return block.epochs
    .map((x, i) => ({ x, layer: field.layer.value, title: `${time} ${x}`, y: block.values[i * width + column] }))
    .filter(({ x }) => x >= chosen("from") && x <= chosen("to"));
}

/** The lines to draw, of these networks: {name, network, alone, points: [{x, layer, title, y, low, high, count}]}. */
function linesOf(shown) {
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
      if (!at.has(point.x)) at.set(point.x, { ...point, values: [] });
      at.get(point.x).values.push(point.y);
    }
  }
  return [...found.values()]
    .map(({ name, network, at }) => ({ name, network, points: [...at.values()].sort((a, b) => a.x - b.x).map(mean) }))
    .filter((line) => line.points.length)
    .map((line) => ({ ...line, alone: standAlone(line) }))
    .sort((a, b) => networks.indexOf(a.network) - networks.indexOf(b.network));
}

/** Whether nothing may be read between the points: there is one, or two of more layers. */
function standAlone({ network, points: { length } }) {
  return length === 1 || (byLayer() && length === 2 && numLayers.get(network) > 2);
}

function mean({ x, layer, title, values }) {
  const y = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { x, layer, title, y, low: Math.min(...values), high: Math.max(...values), count: values.length };
}
