// Says what is pointed at, by pointer, touch or arrow keys.
const spoken = document.getElementById("spoken");

function point(lineAt, pointAt) {
  at = [lineAt, pointAt];
  const line = drawn.lines[lineAt];
  const found = line.points[pointAt];
  const mark = svg.querySelector(".at");
  const [x, y] = drawn.place(line, found);
  mark.setAttribute("cx", x);
  mark.setAttribute("cy", y);
  mark.setAttribute("style", `fill: ${look(line.network).colour}`);
  mark.setAttribute("visibility", "visible");
  const seeds = found.count > 1 ? `, mean of ${found.count} seeds, ${shownValue(found.low)} to ${shownValue(found.high)}` : "";
  const title = document.createElement("b");
  title.textContent = line.name;
  const text = `${found.title}: ${shownValue(found.y)}${seeds}`;
  hover.replaceChildren(title, text);
  hover.hidden = false;
  const scale = svg.clientWidth / svg.viewBox.baseVal.width;
  const left = x * scale + 14;
  const room = svg.clientWidth - hover.offsetWidth;
  hover.style.left = `${Math.max(0, left > room ? Math.min(room, left - 28 - hover.offsetWidth) : left)}px`;
  hover.style.top = `${Math.max(0, y * scale - hover.offsetHeight - 10)}px`;
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
    const [x, y] = drawn.place(line, one);
    const away = (x - px) ** 2 + (y - py) ** 2;
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
