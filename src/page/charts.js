"use strict";
// Charts as SVG: curves and bars with a readout for mouse, touch and keys.
//
//   const chart = new Chart(container, { title, help });
//   chart.show({ series, marks, x: { label, format }, y: { format, least, most } });
//
// A series is { name, colour, dash, bars, points: [[x, y, low, high], ...] } with points in ascending order of x; low and
// high draw a band. `colour` and `dash` are numbers of the style sheet. A mark is { from, to, label, text, link, kind,
// silent }: a stretch of the x axis ("advice") or one place on it ("change"), explained below the chart unless it is
// silent. Charts with the same `group` show the same place.

// Makes an element of HTML. Texts become text nodes, and functions listeners.
function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

const format = {
  number: x => {
    const size = Math.abs(x);
    if (size >= 1e9) return `${trim(x / 1e9)} G`;
    if (size >= 1e6) return `${trim(x / 1e6)} M`;
    if (size >= 1e4) return `${trim(x / 1e3)} k`;
    return trim(x);
  },
  whole: x => (Math.abs(x) >= 1e5 ? format.number(x) : String(Math.round(x))),
  share: x => {
    const percent = 100 * x;
    return `${percent === 0 || Math.abs(percent) >= 1 ? Number(percent.toFixed(1)) : Number(percent.toPrecision(2))} %`;
  },
  seconds: s => {
    if (s < 60) return `${s < 1 ? Number(s.toPrecision(1)) : trim(s)} s`;
    const whole = Math.round(s);
    if (whole < 3600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
    const minutes = Math.round(whole / 60);
    return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  },
  bytes: x => (x >= 1e9 ? `${trim(x / 1e9)} GB` : x >= 1e6 ? `${trim(x / 1e6)} MB` : `${trim(x / 1e3)} kB`),
  // A value from -1 to 1.
  value: x => (x > 0 ? "+" : "") + String(Number(x.toFixed(2))).replace("-", "−"),
  elo: x => (x > 0 ? "+" : "") + String(Math.round(x)).replace("-", "−"),
};

// Three digits, and none that say nothing.
function trim(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 100) return x.toFixed(0);
  if (size < 0.001) return x.toExponential(1);
  return String(Number(x.toPrecision(3)));
}

// The ticks of an axis: round numbers, or round times.
function ticks(low, high, most, isTime) {
  const raw = (high - low) / Math.max(1, most);
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 5, 10].map(k => k * power).find(step => step >= raw);
  if (isTime && raw > 5) {
    const hours = [1, 2, 3, 6, 12, 24, 48, 120, 240, 720, 2400].map(h => 3600 * h);
    step = [10, 15, 30, 60, 120, 300, 600, 900, 1800, ...hours].find(step => step >= raw) || step;
  }
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

class Chart {
  // The charts that show the same place, by the name of their group.
  static groups = new Map();

  constructor(container, { title, help, group = null, tall = false }) {
    this.container = container;
    this.title = title;
    this.tall = tall;
    this.at = null;
    this.plot = html("div", { class: "plot" });
    this.readout = html("div", { class: "readout" });
    this.notes = html("ul", { class: "notes" });
    container.classList.add("chart");
    container.replaceChildren(html("h3", {}, title), this.readout, this.plot, this.notes, html("p", { class: "help" }, help));
    if (!Chart.groups.has(group)) Chart.groups.set(group, new Set());
    this.group = group === null ? new Set([this]) : Chart.groups.get(group);
    this.group.add(this);
    this.width = 0;
    new ResizeObserver(() => {
      if (this.data && Math.abs(this.plot.clientWidth - this.width) > 1) this.draw();
    }).observe(this.plot);
  }

  show(data) {
    this.data = { marks: [], ...data, series: data.series.map(series => ({
      ...series, points: series.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)),
    })).filter(series => series.points.length) };
    this.container.hidden = !this.data.series.length;
    if (!this.container.hidden) this.draw();
  }

  domains() {
    const { series, x = {}, y = {} } = this.data;
    const xs = series.flatMap(({ points }) => [points[0][0], points[points.length - 1][0]]);
    let [left, right] = [x.least ?? Math.min(...xs), x.most ?? Math.max(...xs)];
    if (series.some(({ bars }) => bars)) [left, right] = [left - 0.5, right + 0.5];
    if (left === right) [left, right] = [left - 0.5, right + 0.5];
    let low = Infinity, high = -Infinity;
    for (const { points } of series) {
      for (const [, value, under, over] of points) {
        low = Math.min(low, under ?? value);
        high = Math.max(high, over ?? value);
      }
    }
    [low, high] = [Math.min(low, y.least ?? low), y.most ?? high];
    if (low === high) [low, high] = low === 0 ? [0, 1] : [low - 0.1 * Math.abs(low), high + 0.1 * Math.abs(high)];
    const room = 0.06 * (high - low);
    if (y.least === undefined || low < y.least) low -= room;
    if (y.most === undefined) high += room;
    return { left, right, low, high };
  }

  draw() {
    const { series, marks, x, y } = this.data;
    const width = Math.max(220, this.plot.clientWidth || 340), height = this.tall ? 260 : 180;
    this.width = this.plot.clientWidth;
    const inner = { left: 54, right: width - 10, top: 8, bottom: height - 26 };
    const { left, right, low, high } = this.domains();
    const px = value => inner.left + (value - left) / (right - left) * (inner.right - inner.left);
    const py = value => inner.bottom - (value - low) / (high - low) * (inner.bottom - inner.top);
    this.scale = { px, py, inner, left, right };
    const svg = element("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "img",
      "aria-label": `${this.title}: ${this.spoken(this.valuesAt(null))}. Left and right arrow keys read other places.`,
    });
    for (const tick of ticks(low, high, this.tall ? 6 : 4, false)) {
      svg.append(element("line", { class: tick === 0 ? "axis" : "rule", x1: inner.left, x2: inner.right, y1: py(tick), y2: py(tick) }));
      svg.append(text("tick end", inner.left - 6, py(tick) + 4, y.format(tick)));
    }
    const isTime = x.format === format.seconds;
    const wide = x.names ? 0 : 1;
    const places = x.names ? x.names.map((_, k) => k) : ticks(left, right, Math.max(2, Math.floor((inner.right - inner.left) / (isTime ? 80 : 55))), isTime);
    for (const tick of places) {
      if (wide && x.whole && tick !== Math.round(tick)) continue;
      if (tick < left - 1e-9 || tick > right + 1e-9) continue;
      const label = x.names ? x.names[tick] : x.format(tick);
      const at = Math.min(px(tick), width - 3.3 * label.length);
      svg.append(element("line", { class: "rule", x1: px(tick), x2: px(tick), y1: inner.bottom, y2: inner.bottom + 4 }));
      svg.append(text("tick middle", at, height - 8, label));
    }
    for (const { from, to, kind } of marks) {
      const [start, end] = [Math.max(inner.left, px(from)), Math.min(inner.right, px(to))];
      if (kind === "advice") {
        svg.append(element("rect", { class: "mark-band", x: start, y: inner.bottom - 5, width: Math.max(3, end - start), height: 5 }));
        svg.append(element("path", { class: "mark-point", d: `M${start} ${inner.bottom - 14}l5 8h-10z` }));
      } else {
        svg.append(element("line", { class: "mark-line", x1: start, x2: start, y1: inner.top, y2: inner.bottom }));
      }
    }
    if (this.data.diagonal) svg.append(element("line", { class: "diagonal", x1: px(-1), y1: py(-1), x2: px(1), y2: py(1) }));
    for (const one of series) this.drawSeries(svg, one, px, py, py(Math.max(0, low)));
    this.cursor = element("g", { class: "cursor" });
    svg.append(this.cursor);
    svg.addEventListener("pointermove", event => this.point(event));
    svg.addEventListener("pointerdown", event => this.point(event));
    svg.addEventListener("pointerleave", () => this.move(null));
    svg.addEventListener("blur", () => { if (svg.isConnected && !this.replacing) this.move(null); });
    svg.addEventListener("keydown", event => this.key(event));
    const focused = this.plot.contains(document.activeElement);
    this.replacing = true;
    this.plot.replaceChildren(svg);
    this.replacing = false;
    if (focused) svg.focus({ preventScroll: true });
    this.notes.replaceChildren(...marks.filter(({ silent }) => !silent).map(({ kind, label, text: full, link }) => html("li", { class: kind }, ...(link
      ? [html("a", { href: link }, label)] : [label]), ` ${full}`)));
    this.tell(this.at);
  }

  drawSeries(svg, { points, colour, dash = 0, bars, thin }, px, py, ground) {
    if (bars) {
      const half = Math.max(0.8, Math.min(14, 0.42 * (px(1) - px(0))));
      for (const [x, y] of points) {
        svg.append(element("rect", { class: `column c${colour}`, x: px(x) - half, width: 2 * half, y: py(y), height: Math.max(0, ground - py(y)) }));
      }
      return;
    }
    const place = value => value.toFixed(1);
    if (points.some(([, , low]) => Number.isFinite(low))) {
      const has = points.filter(([, , low, high]) => Number.isFinite(low) && Number.isFinite(high));
      const up = has.map(([x, , , high]) => `${place(px(x))},${place(py(high))}`);
      const down = has.map(([x, , low]) => `${place(px(x))},${place(py(low))}`).reverse();
      svg.append(element("polygon", { class: `band c${colour}`, points: [...up, ...down].join(" ") }));
      if (has.length === 1) {
        const [[x, , low, high]] = has;
        svg.append(element("line", { class: `curve c${colour}`, x1: px(x), x2: px(x), y1: py(low), y2: py(high) }));
      }
    }
    const path = points.map(([x, y]) => `${place(px(x))},${place(py(y))}`).join(" ");
    svg.append(element("polyline", { class: `curve c${colour} d${dash}${thin ? " thin" : ""}`, points: path }));
    if (points.length <= 30 && !thin) {
      for (const [x, y] of points) svg.append(element("circle", { class: `point c${colour}`, cx: px(x), cy: py(y), r: 3 }));
    }
  }

  point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const { inner, left, right } = this.scale;
    const at = (event.clientX - box.left) / box.width * event.currentTarget.viewBox.baseVal.width;
    const share = (at - inner.left) / (inner.right - inner.left);
    this.move(left + Math.max(0, Math.min(1, share)) * (right - left));
  }

  key(event) {
    const places = [...new Set(this.data.series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
    const last = places.length - 1;
    const now = this.at === null ? last : places.findIndex(x => x >= this.at - 1e-9);
    const jump = event.shiftKey ? 10 : 1;
    const next = { ArrowLeft: now - jump, ArrowRight: now + jump, Home: 0, End: last }[event.key];
    if (event.key === "Escape") this.move(null);
    if (next === undefined) return;
    event.preventDefault();
    this.readout.setAttribute("aria-live", "polite");
    this.move(places[Math.max(0, Math.min(last, next))]);
  }

  move(at) {
    for (const chart of this.group) chart.tell(at);
  }

  // The point of each series that is nearest to a place, or its last one.
  valuesAt(at) {
    return this.data.series.map(series => {
      const { points } = series;
      if (at === null) return { series, point: points[points.length - 1] };
      let low = 0, high = points.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][0] < at) low = middle + 1; else high = middle;
      }
      const before = points[low - 1];
      return { series, point: before && at - before[0] < points[low][0] - at ? before : points[low] };
    });
  }

  spoken(values) {
    const { x, y } = this.data;
    const name = place => (x.names ? x.names[Math.round(place)] : x.format(place));
    return values.map(({ series, point }) => `${series.name} ${y.format(point[1])} at ${x.label} ${name(point[0])}`).join(", ");
  }

  tell(at) {
    this.at = at;
    if (!this.data || this.container.hidden || !this.scale) return;
    const { x, y, marks } = this.data, { px, py, inner } = this.scale;
    const values = this.data.series.some(({ bars }) => bars) && at === null ? [] : this.valuesAt(at);
    const name = place => (x.names ? x.names[Math.round(place)] : x.format(place));
    const place = values.length ? values[0].point[0] : null;
    const interval = ([, , low, high]) => (Number.isFinite(low) ? ` (${y.format(low)} to ${y.format(high)})` : "");
    const where = at !== null && place !== null ? [html("span", { class: "where" }, `${x.label} ${name(place)}`)] : [];
    const read = this.data.series.map(series => {
      const found = values.find(value => value.series === series);
      return html("span", { class: "value" },
        html("span", { class: `key c${series.colour} d${series.dash || 0}${series.bars ? " filled" : ""}` }), `${series.name} `,
        html("b", {}, found ? y.format(found.point[1]) + interval(found.point) : ""));
    });
    const here = at === null ? [] : marks.filter(({ from, to, kind }) => {
      const slack = (this.scale.right - this.scale.left) / 120;
      return kind === "change" ? Math.abs(from - at) < slack : at >= from - slack && at <= to + slack;
    });
    this.readout.replaceChildren(...where, ...read, ...here.map(({ label }) => html("span", { class: "value marked" }, label)));
    this.cursor.replaceChildren();
    if (at === null) return;
    if (place !== null) {
      this.cursor.append(element("line", { class: "cross", x1: px(place), x2: px(place), y1: inner.top, y2: inner.bottom }));
    }
    for (const { series, point } of values) {
      if (!series.bars) this.cursor.append(element("circle", { class: `point c${series.colour}`, cx: px(point[0]), cy: py(point[1]), r: 4 }));
    }
  }
}

// A curve without axes, to be seen at a glance: none of a single point.
function sparkline(points, label) {
  const svg = element("svg", { class: "spark", viewBox: "0 0 160 44", role: "img", "aria-label": label, preserveAspectRatio: "none" });
  const found = points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  if (found.length < 2) return null;
  const xs = found.map(([x]) => x), ys = found.map(([, y]) => y);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const path = found.map(([x, y]) => `${(3 + 154 * (x - left) / (right - left || 1)).toFixed(1)},${(40 - 36 * (y - low) / (high - low || 1)).toFixed(1)}`);
  svg.append(element("polyline", { class: "curve c0", points: path.join(" ") }));
  const [cx, cy] = path[path.length - 1].split(",");
  svg.append(element("circle", { class: "point c0", cx, cy, r: 3.5 }));
  return svg;
}
