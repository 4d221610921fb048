// Lists the numbers that are drawn.
function list() {
  const head = document.createElement("tr");
  const cell = (tag, text, scope) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (scope) made.scope = scope;
    if (tag === "td") made.className = "number";
    return made;
  };
  head.append(cell("th", byLayer() ? "layer" : time, "col"), ...drawn.lines.map((line) => cell("th", line.name, "col")));
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
