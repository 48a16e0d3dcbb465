"use strict";
// A board of any game as SVG. What is drawn is a view: the JSON of lockstep's `View`.
//
//   const board = new Board(container, { onMove: action => ... });
//   board.show(view, [{ action, share, text }, ...]);
//
// `share`, from 0 to 1, is how large a move is marked; `text` stands on the mark and may be left out, and so may `kind`,
// which is "good" or "bad" for a mark of that colour. Without
// `onMove` the board is only shown. Moves are made by mouse, touch, or keys: the arrows go from cell to cell, Enter and
// the space bar play, Escape takes back the choice of the piece that is to move.
class Board {
  constructor(container, { onMove = null } = {}) {
    this.container = container;
    this.onMove = onMove;
    this.from = null;
    this.focus = null;
  }

  show(view, marks = []) {
    this.marks = marks;
    const shown = JSON.stringify(view);
    // Marks change often, and what has the focus stays where it is then.
    if (this.shown === shown) return this.drawMarks();
    this.shown = shown;
    const had = this.container.contains(document.activeElement) && document.activeElement.dataset;
    const cell = had && had.cell !== undefined ? Number(had.cell) : this.focus;
    if (!this.view || this.view.cells !== view.cells) this.from = null;
    this.view = view;
    this.draw();
    if (had && cell !== null) this.focusCell(cell);
  }

  // Geometry: cells are 100 wide.
  get height() { return this.view.rows.length; }
  get width() { return this.view.columns.length; }
  get hexagons() { return this.view.board === "hexagons"; }
  get dots() { return this.view.board === "dots"; }

  centre(cell) {
    const row = Math.floor(cell / this.width), column = cell % this.width;
    if (this.hexagons) return [column * 100 + row * 50 + 50, row * 86.6 + 58];
    if (this.dots) return [column * 60 + 50, row * 60 + 50];
    return [column * 100 + 50, row * 100 + 50];
  }

  size() {
    const { height, width } = this;
    if (this.hexagons) return [width * 100 + (height - 1) * 50 + 8, (height - 1) * 86.6 + 124];
    if (this.dots) return [(width - 1) * 60 + 100, (height - 1) * 60 + 100];
    return [width * 100, height * 100];
  }

  draw() {
    const { view } = this;
    const [w, h] = this.size(), margin = 44;
    const named = view.rows.some(name => name !== "");
    const svg = element("svg", {
      class: "board", viewBox: `${named ? -margin : -4} ${-margin} ${w + 4 + (named ? margin : 4)} ${h + margin + 4}`,
      role: this.onMove ? "application" : "img", "aria-label": this.describe(),
    });
    svg.append(element("rect", { class: "ground", x: 0, y: 0, width: w, height: h, rx: 4 }));
    view.columns.forEach((name, column) => {
      const [x] = this.centre(column);
      svg.append(text("name", this.hexagons ? x - 25 : x, -margin / 2, name));
    });
    view.rows.forEach((name, row) => {
      const [x, y] = this.centre(row * this.width);
      if (name) svg.append(this.hexagons ? text("name slanted", x - 60, y, name) : text("name", -margin / 2, y, name));
    });
    this.drawGround(svg);
    [...view.cells].forEach((character, cell) => this.drawCell(svg, character, cell));
    if (this.hexagons) this.drawSides(svg);
    if (view.last.length) {
      const [x, y] = this.centre(view.last[view.last.length - 1]);
      svg.append(element("circle", { class: "last", cx: x, cy: y, r: this.dots ? 18 : 16 }));
    }
    this.layer = element("g", {});
    svg.append(this.layer);
    this.drawMarks();
    if (this.onMove) this.drawTargets(svg);
    // A board of few cells does not fill a wide page.
    // Texts of a large board are larger, so that a small screen can show them.
    svg.style.setProperty("--fine", `${Math.max(26, Math.min(40, w / 40))}px`);
    svg.style.maxWidth = `${Math.round(1.4 * (w + margin))}px`;
    this.container.replaceChildren(svg);
  }

  drawGround(svg) {
    const { height, width, view } = this;
    if (view.board === "points") {
      for (let row = 0; row < height; row++) {
        svg.append(element("line", { class: "square", x1: 50, x2: width * 100 - 50, y1: row * 100 + 50, y2: row * 100 + 50 }));
      }
      for (let column = 0; column < width; column++) {
        svg.append(element("line", { class: "square", x1: column * 100 + 50, x2: column * 100 + 50, y1: 50, y2: height * 100 - 50 }));
      }
    }
  }

  // The first player of a game of hexagons joins top and bottom, the second left and right: these are the sides of the
  // outermost cells.
  drawSides(svg) {
    const { height, width } = this;
    const side = (player, cells, corners) => {
      const at = cells.flatMap(cell => corners.map(([dx, dy]) => this.centre(cell).map((at, k) => at + [dx, dy][k])));
      for (const kind of ["outline", "edge"]) svg.append(element("polyline", { class: `${kind} ${player}`, points: at.join(" ") }));
    };
    const row = r => Array.from({ length: width }, (_, c) => r * width + c);
    const column = c => Array.from({ length: height }, (_, r) => r * width + c);
    side("x", row(0), [[-50, -28.9], [0, -57.7], [50, -28.9]]);
    side("x", row(height - 1), [[-50, 28.9], [0, 57.7], [50, 28.9]]);
    side("o", column(0), [[-50, -28.9], [-50, 28.9]]);
    side("o", column(width - 1), [[50, -28.9], [50, 28.9]]);
  }

  drawCell(svg, character, cell) {
    const [x, y] = this.centre(cell);
    const row = Math.floor(cell / this.width), column = cell % this.width;
    switch (this.view.board) {
      case "squares":
        svg.append(element("rect", { class: (row + column) % 2 ? "square odd" : "square", x: x - 50, y: y - 50, width: 100, height: 100 }));
        break;
      case "columns":
        svg.append(element("circle", { class: "square", cx: x, cy: y, r: 42 }));
        break;
      case "hexagons":
        svg.append(element("polygon", { class: "square", points: hexagon(x, y, 57.7) }));
        break;
    }
    if (this.dots) {
      if (character === "+") svg.append(element("circle", { class: "dot", cx: x, cy: y, r: 9 }));
      else if ((row + column) % 2) {
        const along = row % 2 === 0;
        svg.append(element("line", {
          class: character === " " ? "wall" : "wall drawn",
          x1: along ? x - 48 : x, x2: along ? x + 48 : x, y1: along ? y : y - 48, y2: along ? y : y + 48,
        }));
      } else if (character !== " ") {
        svg.append(element("rect", { class: `box ${character}`, x: x - 46, y: y - 46, width: 92, height: 92, rx: 8 }));
      }
    } else if (character === "x" || character === "o") {
      svg.append(element("circle", { class: `stone ${character}`, cx: x, cy: y, r: this.hexagons ? 36 : 40 }));
    }
  }

  drawMarks() {
    this.layer.replaceChildren();
    for (const mark of this.marks) this.drawMark(this.layer, mark);
  }

  drawMark(svg, { action, share, text: label, kind = "" }) {
    const move = this.view.legal.find(move => move.action === action);
    if (!move || !move.cells.length) return;
    const places = move.cells.map(cell => this.centre(cell));
    const [x, y] = places[places.length - 1];
    const strength = Math.max(0, Math.min(1, share));
    if (places.length > 1) {
      const [fx, fy] = places[0];
      svg.append(element("line", { class: `arrow ${kind}`, x1: fx, y1: fy, x2: x, y2: y, "stroke-width": 4 + 22 * strength, opacity: 0.25 + 0.6 * strength }));
    } else {
      svg.append(element("circle", { class: `advice ${kind}`, cx: x, cy: y, r: (this.dots ? 26 : 44) * Math.sqrt(strength), opacity: kind ? 0.95 : 0.55 }));
    }
    if (!label) return;
    // Below the middle of a cell, which the mark has; on an arrow beside its end, where others may end too.
    const [fx, fy] = places[0];
    const [tx, ty] = places.length > 1 ? [fx + 0.68 * (x - fx), fy + 0.68 * (y - fy)] : [x, y + (this.dots ? 20 : 27)];
    svg.append(text(`advice-text ${kind}`, tx, ty, label));
  }

  // The moves that a click on a cell can mean: of the chosen piece, or all of them.
  movesAt(cell) {
    return this.view.legal.filter(({ cells }) => cells.length > 1
      ? (this.from === null ? cells[0] === cell : cells[0] === this.from && cells[1] === cell)
      : cells[0] === cell);
  }

  drawTargets(svg) {
    const cells = new Map();
    for (const move of this.view.legal) {
      if (!move.cells.length) continue;
      if (move.cells.length > 1) {
        cells.set(move.cells[0], `piece at ${this.cellName(move.cells[0])}`);
        if (this.from === move.cells[0]) cells.set(move.cells[1], `move ${move.text}`);
      } else {
        cells.set(move.cells[0], `move ${move.text}`);
      }
    }
    // In a game of columns the whole column may be clicked.
    const tall = this.view.board === "columns";
    const order = [...cells.keys()].sort((a, b) => a - b);
    if (!cells.has(this.focus)) this.focus = order.length ? order[0] : null;
    for (const cell of order) {
      const [x, y] = this.centre(cell);
      const common = {
        class: cell === this.from ? "target chosen" : "target", role: "button", "data-cell": cell,
        "aria-label": cells.get(cell), tabindex: cell === this.focus ? 0 : -1,
      };
      const target = this.hexagons
        ? element("polygon", { ...common, points: hexagon(x, y, 56) })
        : this.dots ? element("rect", { ...common, x: x - 26, y: y - 26, width: 52, height: 52, rx: 10 })
        : element("rect", { ...common, x: x - 48, y: tall ? 2 : y - 48, width: 96, height: tall ? this.height * 100 - 4 : 96, rx: 10 });
      target.addEventListener("click", () => this.click(cell));
      target.addEventListener("focus", () => { this.focus = cell; });
      target.addEventListener("keydown", event => this.key(event, cell, order));
      svg.append(target);
    }
  }

  click(cell) {
    const moves = this.movesAt(cell);
    const isPiece = this.view.legal.some(move => move.cells.length > 1 && move.cells[0] === cell);
    const whole = moves.find(move => move.cells.length === 1 || this.from !== null);
    this.focus = cell;
    if (whole) {
      this.from = null;
      this.onMove(whole.action);
    } else if (isPiece) {
      this.from = this.from === cell ? null : cell;
      this.draw();
      this.focusCell(cell);
    }
  }

  key(event, cell, order) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.click(cell);
    } else if (event.key === "Escape" && this.from !== null) {
      this.from = null;
      this.draw();
      this.focusCell(cell);
    } else if (steps[event.key]) {
      event.preventDefault();
      // The nearest target in that direction.
      const [dx, dy] = steps[event.key], [x, y] = this.centre(cell);
      const far = other => {
        const [ox, oy] = this.centre(other);
        const along = (ox - x) * dx + (oy - y) * dy, across = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
        return along > 1 ? along + 3 * across : Infinity;
      };
      const next = order.reduce((best, other) => far(other) < far(best) ? other : best, cell);
      if (far(next) < Infinity) this.focusCell(next);
    }
  }

  focusCell(cell) {
    const targets = [...this.container.querySelectorAll(".target")];
    const target = targets.find(target => Number(target.dataset.cell) === cell) || targets.find(target => target.tabIndex === 0);
    if (!target) return;
    targets.forEach(other => other.setAttribute("tabindex", other === target ? 0 : -1));
    target.focus();
  }

  cellName(cell) {
    return this.view.columns[cell % this.width] + this.view.rows[Math.floor(cell / this.width)];
  }

  describe() {
    const { view } = this;
    if (view.result !== null) return `the game is over: ${["the second player has won", "a draw", "the first player has won"][view.result + 1]}`;
    return `${view.to_move ? "second" : "first"} player to move, ${view.legal.length} legal moves`;
  }
}

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function text(kind, x, y, content) {
  const made = element("text", { class: kind, x, y });
  made.textContent = content;
  return made;
}

function hexagon(x, y, radius) {
  const corner = k => {
    const angle = Math.PI / 6 + k * Math.PI / 3;
    return `${(x + radius * Math.cos(angle)).toFixed(1)},${(y + radius * Math.sin(angle)).toFixed(1)}`;
  };
  return [0, 1, 2, 3, 4, 5].map(corner).join(" ");
}
