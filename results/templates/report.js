"use strict";
// The chart and the filter of a report. Reads the JSON beside it; touches nothing outside of the page.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters"), chart = document.getElementById("chart");
  const tip = document.getElementById("tip"), said = document.getElementById("said");
  const across = document.getElementById("across"), up = document.getElementById("up");
  const tableRows = [...document.querySelectorAll("#rows tbody tr")];
  const box = { left: 70, right: 880, top: 15, bottom: 375 };
  const dashes = ["", "7 4", "2 3", "9 3 2 3", "4 2"];
  const chips = data.chips;
  let points = [], current = -1;

  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const word = (value) => String(value).replaceAll("_", " ");

  function quantity(name, value) {
    if (name === "roofline_fraction" || name === "mfu") return number.format(100 * value) + "%";
    if (!(name === "seconds" || name.endsWith("_s") && !name.startsWith("tokens"))) return number.format(value);
    const [size, unit] = value >= 1 ? [1, "s"] : value >= 1e-3 ? [1e-3, "ms"] : [1e-6, "us"];
    return number.format(value / size) + " " + unit;
  }

  function element(name, attributes, parent, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function kept() {
    const chosen = {};
    for (const set of form.querySelectorAll("fieldset")) {
      chosen[set.dataset.column] = new Set([...set.querySelectorAll("input:checked")].map((each) => each.value));
    }
    return tableRows.map((_, row) =>
      Object.entries(chosen).every(([column, values]) => values.has(String(data.inputs[column][row]))));
  }

  function scale(values, low, high, logarithmic) {
    let [least, most] = [Math.min(...values), Math.max(...values)];
    if (logarithmic && least > 0) {
      [least, most] = [least / 1.1, most * 1.1];
      return { to: (v) => low + (high - low) * Math.log(v / least) / Math.log(most / least), least, most, logarithmic };
    }
    [least, most] = [Math.min(0, least), most * 1.05 || 1];
    return { to: (v) => low + (high - low) * (v - least) / (most - least), least, most, logarithmic: false };
  }

  function ticks(axis, exact) {
    if (exact && exact.length <= 12) return exact;
    if (!axis.logarithmic) {
      const rough = (axis.most - axis.least) / 5, power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
      return Array.from({ length: 12 }, (_, i) => i * step).filter((each) => each <= axis.most);
    }
    const found = [];
    const factors = axis.most / axis.least > 1000 ? [1] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(axis.least)); power <= Math.log10(axis.most); power++) {
      for (const factor of factors) found.push(factor * 10 ** power);
    }
    return found.filter((each) => each >= axis.least && each <= axis.most);
  }

  // A number that has one value at each place across goes along a line, as a batch that grows with the chips.
  function follows(name) {
    const values = data.inputs[name], seen = new Map();
    if (typeof values[0] !== "number") return false;
    return data.inputs[across.value].every((place, row) => {
      if (!seen.has(place)) seen.set(place, values[row]);
      return seen.get(place) === values[row];
    });
  }

  function series(row) {
    return Object.keys(data.inputs).filter((name) => name !== across.value && !follows(name))
      .map((name) => data.inputs[name][row]).join("|");
  }

  function draw() {
    const keep = kept(), values = data.numbers[up.value], places = data.inputs[across.value];
    tableRows.forEach((row, index) => { row.hidden = !keep[index]; });
    const shown = tableRows.map((_, row) => row).filter((row) => keep[row] && values[row] !== null);
    document.getElementById("count").textContent = number.format(keep.filter(Boolean).length);
    chart.replaceChildren();
    tip.hidden = true;
    current = -1;
    points = [];
    said.textContent = `${shown.length} points in the chart.`;
    if (!shown.length) {
      element("text", { x: 450, y: 200, "text-anchor": "middle" }, chart, "No point is left by the filter.");
      return;
    }
    const logarithmic = document.getElementById("logarithmic").checked;
    const numbers = [...new Set(shown.map((row) => places[row]))].sort((a, b) => a - b);
    const x = scale(numbers, box.left + 10, box.right - 10, logarithmic && numbers.length > 1);
    const y = scale(shown.map((row) => values[row]), box.bottom, box.top, logarithmic);
    for (const value of ticks(x, numbers)) {
      element("line", { x1: x.to(value), x2: x.to(value), y1: box.top, y2: box.bottom, stroke: "#e4e4e4" }, chart);
      element("text", { x: x.to(value), y: box.bottom + 18, "text-anchor": "middle" }, chart, value.toLocaleString("en"));
    }
    for (const value of ticks(y)) {
      element("line", { x1: box.left, x2: box.right, y1: y.to(value), y2: y.to(value), stroke: "#e4e4e4" }, chart);
      element("text", { x: box.left - 6, y: y.to(value) + 4, "text-anchor": "end" }, chart, quantity(up.value, value));
    }
    element("text", { x: box.right, y: 412, "text-anchor": "end" }, chart, data.titles[across.value]);
    const lines = new Map();
    for (const row of shown) {
      const key = series(row);
      if (!lines.has(key)) lines.set(key, []);
      lines.get(key).push(row);
    }
    for (const rows of lines.values()) {
      rows.sort((a, b) => places[a] - places[b]);
      const strategy = data.inputs.strategy[rows[0]], dash = dashes[chips.indexOf(data.inputs.chip[rows[0]]) % dashes.length];
      const path = rows.map((row, i) => (i ? "L" : "M") + x.to(places[row]) + " " + y.to(values[row])).join("");
      const stroke = data.styles[strategy].colour;
      element("path", { d: path, fill: "none", stroke, "stroke-width": 1.6, "stroke-dasharray": dash }, chart);
      for (const row of rows) {
        const at = { row, x: x.to(places[row]), y: y.to(values[row]) };
        at.mark = element("circle", { cx: at.x, cy: at.y, r: 3.5, fill: stroke, class: "point" }, chart);
        points.push(at);
      }
    }
    points.sort((a, b) => a.x - b.x || a.y - b.y);
  }

  function told(row) {
    const inputs = Object.entries(data.inputs).filter(([, values]) => values[row] !== "");
    const what = inputs.map(([name, values]) => `${data.titles[name]} ${word(values[row])}`).join(", ");
    const parts = Object.entries(data.numbers).filter(([name, values]) => values[row])
      .map(([name, values]) => `${data.titles[name]} ${quantity(name, values[row])}`).join("\n");
    return { what, parts, one: `${what}: ${data.titles[up.value]} ${quantity(up.value, data.numbers[up.value][row])}, limited by ${data.limiter[row]}` };
  }

  function show(index, aloud) {
    if (points[current]) points[current].mark.setAttribute("r", 3.5);
    current = index;
    tip.hidden = current < 0;
    if (current < 0) return;
    const point = points[current], text = told(point.row), frame = chart.getBoundingClientRect();
    point.mark.setAttribute("r", 6.5);
    tip.textContent = `${text.what}\n${text.parts}\nlimited by ${data.limiter[point.row]}`;
    const ratio = frame.width / 900, left = point.x * ratio;
    tip.style.top = point.y * ratio + 12 + "px";
    tip.style.left = left > frame.width / 2 ? "auto" : left + 12 + "px";
    tip.style.right = left > frame.width / 2 ? frame.width - left + 12 + "px" : "auto";
    if (aloud) said.textContent = text.one;
  }

  chart.addEventListener("mousemove", (event) => {
    const frame = chart.getBoundingClientRect(), ratio = 900 / frame.width;
    const [x, y] = [(event.clientX - frame.left) * ratio, (event.clientY - frame.top) * ratio];
    let best = -1, least = 25 ** 2;
    points.forEach((point, index) => {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [best, least] = [index, distance];
    });
    if (best !== current) show(best, false);
  });
  chart.addEventListener("mouseleave", () => show(-1, false));
  chart.addEventListener("blur", () => show(-1, false));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === "Escape") show(-1, false);
    else if (event.key === "Home" && points.length) show(0, true);
    else if (event.key === "End") show(points.length - 1, true);
    else if (step && points.length) show((Math.max(current, step < 0 ? 0 : -1) + step + points.length) % points.length, true);
    else return;
    event.preventDefault();
  });
  form.addEventListener("change", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(draw));

  const legend = document.getElementById("legend");
  const entry = (text, stroke, dash) => {
    const item = document.createElement("li");
    const sample = element("svg", { viewBox: "0 0 36 10", "aria-hidden": "true" }, item);
    element("line", { x1: 0, x2: 36, y1: 5, y2: 5, stroke, "stroke-width": 2, "stroke-dasharray": dash }, sample);
    item.append(text);
    legend.append(item);
  };
  for (const [strategy, style] of Object.entries(data.styles)) entry(word(strategy), style.colour, "");
  if (chips.length > 1) chips.forEach((chip, index) => entry(chip, "#595959", dashes[index % dashes.length]));
  draw();
})();
