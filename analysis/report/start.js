// Draws the chart for the first time, and again where its room changes.
const seedsOf = new Map();
networkOf.forEach((network) => seedsOf.set(network, (seedsOf.get(network) ?? 0) + 1));
field.mean.parentElement.hidden = Math.max(...seedsOf.values()) < 2;
if (data.shown < data.total) {
  const rule = document.getElementById("rule");
  rule.hidden = false;
  rule.textContent = `The chart has ${data.shown} of ${data.total} measurements. ${data.rule}`;
}
if (unique(data.epochs.flat()).length < 2) field.axis.value = "layer"; // a line by epoch would be one point
offerNetworks();
offer();
draw();
document.getElementById("numbers").addEventListener("toggle", list);
let before = svg.parentElement.clientWidth;
new ResizeObserver(() => {
  if (svg.parentElement.clientWidth === before) return;
  before = svg.parentElement.clientWidth;
  draw();
}).observe(svg.parentElement);
