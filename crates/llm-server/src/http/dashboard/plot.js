// Lines over time, drawn as SVG.

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 150, LEFT = 52, RIGHT = 6, TOP = 6, BOTTOM = 20;
const CLASSES = ["one", "two", "three"];

function drawn(name, attributes, text) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** The end of an axis that holds `most`: 1, 2, 4 or 5 times a power of ten, which quarters or halves well. */
function end(most, least) {
  const wanted = Math.max(most, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= wanted * 0.999);
}

/** A plot in `figure` of the `lines`, each `{ name, of: (point) => number | null }`; `spell` writes a value. */
export class Plot {
  constructor(figure, lines, { spell, tick, least }) {
    Object.assign(this, { lines, spell, tick, least, points: [], span: 300, pointer: null });
    this.key = document.createElement("ul");
    this.key.className = "key";
    this.values = lines.map(({ name }, at) => {
      const item = document.createElement("li");
      item.className = CLASSES[at];
      const value = document.createElement("b");
      item.append(`${name} `, value);
      this.key.append(item);
      return value;
    });
    this.when = document.createElement("li");
    this.when.className = "when";
    this.key.append(this.when);
    this.svg = drawn("svg", { role: "img" });
    this.svg.setAttribute("aria-label", `${figure.querySelector("h2").textContent}: ${lines.map((line) => line.name).join(", ")}`);
    figure.append(this.key, this.svg);
    this.svg.addEventListener("pointermove", (event) => {
      this.pointer = event.clientX - this.svg.getBoundingClientRect().left;
      this.draw();
    });
    this.svg.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  show(points, span) {
    this.points = points;
    this.span = span;
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!width) return;
    const now = this.points.at(-1)?.at_ms ?? 0;
    const from = now - this.span * 1000;
    const points = this.points.filter((point) => point.at_ms >= from);
    const values = points.map((point) => this.lines.map((line) => line.of(point)));
    const top = end(Math.max(0, ...values.flat().filter((value) => value !== null)), this.least);
    const x = (at) => LEFT + (at - from) / (this.span * 1000) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    for (let quarter = 0; quarter <= 4; quarter++) {
      const value = top * quarter / 4;
      parts.push(drawn("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
      if (quarter % 2 === 0) {
        parts.push(drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, this.tick(value)));
      }
    }
    for (const [share, anchor] of [[1, "start"], [0.5, "middle"], [0, "end"]]) {
      const ago = this.span * share;
      const text = ago === 0 ? "now" : ago < 60 ? `−${ago} s` : `−${ago / 60} min`;
      parts.push(drawn("text", { x: x(now - ago * 1000), y: HEIGHT - 4, "text-anchor": anchor }, text));
    }
    this.lines.forEach((_, line) => {
      let path = "";
      let pen = false;
      points.forEach((point, at) => {
        const value = values[at][line];
        if (value !== null) path += `${pen ? "L" : "M"}${x(point.at_ms).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = value !== null;
      });
      parts.push(drawn("path", { class: CLASSES[line], d: path }));
    });
    const shown = this.nearest(points, x);
    if (this.pointer !== null && shown >= 0) {
      const at = x(points[shown].at_ms);
      parts.push(drawn("line", { class: "cross", x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.values.forEach((value, line) => {
      value.textContent = this.spell(values[shown]?.[line] ?? null);
    });
    this.when.textContent = this.pointer === null || shown < 0 ? "" : new Date(points[shown].at_ms).toLocaleTimeString();
    this.svg.replaceChildren(...parts);
  }

  /** The place of the point under the pointer, else of the last one. */
  nearest(points, x) {
    if (this.pointer === null) return points.length - 1;
    let best = points.length - 1;
    points.forEach((point, at) => {
      if (Math.abs(x(point.at_ms) - this.pointer) < Math.abs(x(points[best].at_ms) - this.pointer)) best = at;
    });
    return best;
  }
}
