"use strict";
// The report of one or several runs: `showReport({ runs, meanings })` draws it into the element `report`, and draws it
// anew with newer data. Scroll position, x axis, open parts and the game that is replayed stay as they are.

// What the x axis of all curves can be: the column of the metrics, and the field of the strength.
const AXES = {
  generation: { name: "generations", label: "generation", column: "generation", field: "generation", format: format.whole, whole: true },
  cpu: { name: "CPU time", label: "CPU time", column: "total.cpu_seconds", field: "cpu_seconds", format: format.seconds },
  wall: { name: "wall time", label: "wall time", column: "seconds", field: "seconds", format: format.seconds },
  games: { name: "games", label: "games", column: "total.games", field: "games", format: format.whole, whole: true },
  positions: { name: "positions", label: "positions", column: "total.positions", field: "positions", format: format.whole, whole: true },
};

// The parts of the page, and the rules of the advice whose marks stand on their curves.
const BROKEN = ["equal_games", "drawn_games"];
const LEARNING = ["skipped_steps", "nothing_recorded", "collapsed_policy", "slow_learning"];
const MEMORY = ["memory_nearly_full", "device_memory_nearly_full"];
const SPEED = ["idle_device", "full_device", "slow_network", "busy_machine", "small_batch", "padded_batch", "small_cache", "too_many_threads", "slow_disk"];

const LEVELS = {
  early: ["…", "Too early to tell"],
  good: ["✓", "Healthy"],
  watch: ["!", "Worth a look"],
  broken: ["✕", "Something is broken"],
};
const RESULTS = { "1": "win", "0": "draw", "-1": "loss" };

const shown = { axis: "generation", run: { games: 0, wrong: 0 }, game: {}, wrong: {}, made: null };

// Returns what stands under a key in a parent: made the first time, and the same ever after.
function slot(parent, key, make) {
  parent.slots ??= new Map();
  if (!parent.slots.has(key)) {
    const made = make();
    parent.slots.set(key, made);
    parent.append(made);
  }
  return parent.slots.get(key);
}

// Replaces what is in an element, unless it is the same: a selection or the focus in it then stays.
function fill(parent, signature, ...children) {
  const key = JSON.stringify(signature);
  if (parent.signature === key) return parent;
  parent.signature = key;
  parent.replaceChildren(...children.flat().filter(Boolean));
  return parent;
}

function showReport(data) {
  const page = document.getElementById("report");
  const made = data.runs.map(run => `${run.name}\n${run.game}`).join("\n\n");
  if (shown.made !== made) {
    page.replaceChildren();
    page.slots = new Map();
    Chart.groups.clear();
    shown.made = made;
  }
  document.title = `${data.runs.map(run => run.name).join(", ")}: report`;
  drawTop(page, data);
  const parts = [
    ["strength", "Strength", strengthPart],
    ...(rivals(data).length ? [["matches", "Matches between the runs", matchesPart]] : []),
    ["diagnosis", "What the network knows", diagnosisPart],
    ["learning", "Learning", learningPart],
    ["games", "The games it learns from", gamesPart],
    ["replay", "Games to replay", replayPart],
    ["wrong", "Positions that it gets wrong", wrongPart],
    ["speed", "Speed and memory", speedPart],
    ["advice", "Advice", advicePart],
    ["settings", "Settings", settingsPart],
  ];
  drawBar(page, parts, data);
  for (const [id, title, draw] of parts) {
    const section = slot(page, id, () => html("section", { id, tabindex: -1 }, html("h2", {}, title)));
    draw(section, data);
  }
  slot(page, "foot", () => html("footer", {}, `Written by lockstep ${data.runs[0].version}. This page is one file and loads nothing.`));
  shown.data = data;
}

// ---------------------------------------------------------------------------------------------- What stands above all

function drawTop(page, data) {
  const head = slot(page, "head", () => html("header", {},
    html("div", { class: "titles" }, html("h1"), html("p", { class: "lead" })),
    html("button", { class: "theme", type: "button", click: changeTheme, "aria-label": "Colours: as the system has them" }, "◐ auto")));
  const [one] = data.runs;
  const several = data.runs.length > 1;
  const titles = [...new Set(data.runs.map(run => run.title))].join(", ");
  head.querySelector("h1").textContent = several ? `${data.runs.length} runs` : `${one.name}`;
  head.querySelector(".lead").textContent = several
    ? `Programs that taught themselves ${titles} by playing against themselves, side by side.`
    : `A program that teaches itself ${titles} by playing against itself: how well it plays, and how it learns.`;
  const cards = slot(page, "cards", () => html("div", { class: several ? "cards several" : "cards" }));
  data.runs.forEach((run, index) => drawCard(slot(cards, index, () => html("article", { class: "card" })), run, index, several));
}

function changeTheme(event) {
  const root = document.documentElement, button = event.currentTarget;
  const next = { undefined: "light", light: "dark", dark: undefined }[root.dataset.theme];
  if (next) root.dataset.theme = next; else delete root.dataset.theme;
  button.textContent = { light: "☀ light", dark: "☾ dark" }[next] || "◐ auto";
  button.setAttribute("aria-label", `Colours: ${next || "as the system has them"}`);
}

function many(n, thing) {
  return `${n} ${thing}${n === 1 ? "" : "s"}`;
}

function stateOf(run) {
  const of = `generation ${run.generation} of ${run.generations}`;
  return {
    training: `training, ${of} has ended`,
    stopped: `stopped after ${of}; it can go on`,
    unfinished: `${of} has ended`,
    finished: `finished: ${many(run.generation, "generation")}`,
  }[run.state];
}

// The mistakes that are the strength of a run in a line of its strength, with their share.
function mistakesOf(line) {
  return line.graded && { ...line.graded, share: line.graded.mistakes / line.graded.positions };
}

// How strong a player is, in words: { value, interval, text, points }.
function strengthOf(run) {
  const last = run.strength.at(-1);
  const when = last ? `after generation ${last.generation}` : "";
  const mistakes = last && mistakesOf(last);
  if (mistakes) {
    const { share, interval, simulations, positions } = mistakes;
    const how = simulations ? `with ${simulations} simulations a move` : "by the network alone";
    const plain = mistakes.mistakes === 0
      ? `No mistake in ${positions} positions whose results are known, ${how}, ${when}.`
      : `It gives a result away in one of ${format.whole(1 / share)} positions whose results are known, ${how}, ${when}.`;
    return {
      value: mistakes.mistakes ? `${format.share(share)} mistakes` : "No mistakes", interval: `95 % interval ${format.share(interval[0])} to ${format.share(interval[1])}`, text: plain,
      points: run.strength.map(line => [line.generation, mistakesOf(line)?.share]), what: "mistakes over the generations",
    };
  }
  if (last && last.played) {
    const { elo, interval, against, results } = last.played;
    const expected = 1 / (1 + 10 ** (-elo / 400));
    return {
      value: `${format.elo(elo)} Elo`, interval: `95 % interval ${format.elo(interval[0])} to ${format.elo(interval[1])}`,
      text: `Plain tree search that has learned nothing is 0: this player is expected to score ${format.share(expected)} against it. `
        + `Measured ${when} against ${against}: ${results[0]} won, ${results[1]} drawn, ${results[2]} lost.`,
      points: run.strength.map(line => [line.generation, line.played?.elo]), what: "Elo over the generations",
    };
  }
  const sets = run.verdict.filter(line => line.positions);
  if (sets.length) {
    const [wrong, all] = ["mistakes", "positions"].map(key => sets.reduce((sum, line) => sum + line[key], 0));
    return {
      value: wrong ? `${format.share(wrong / all)} mistakes` : "No mistakes", interval: "",
      text: `At the end the player gave a result away in ${wrong || "none"} of ${all} positions whose results are known, with ${sets[0].simulations} simulations a move.`,
    };
  }
  return { value: "not measured yet", interval: "", text: "No generation of this run has been graded so far: the losses below tell whether it learns." };
}

function drawCard(card, run, index, several) {
  const strength = strengthOf(run);
  const last = name => run.columns[name]?.at(-1);
  const [icon, word] = LEVELS[run.health.level];
  const figure = (label, value) => html("div", { class: "figure" }, html("dt", {}, label), html("dd", {}, value));
  const share = run.generations ? Math.min(1, run.generation / run.generations) : 0;
  const progress = element("svg", { class: "progress", viewBox: "0 0 100 4", preserveAspectRatio: "none", role: "img", "aria-label": `${Math.round(100 * share)} % of the generations` });
  progress.append(element("rect", { class: "all", width: 100, height: 4 }), element("rect", { class: "done", width: 100 * share, height: 4 }));
  fill(card, [run, index, several],
    several ? html("h2", {}, html("span", { class: `key c${index}` }), ` ${run.name}`) : null,
    html("p", { class: "state" }, html("b", {}, run.title), ` · ${stateOf(run)}${run.forked_from ? `, forked from ${run.forked_from}` : ""}`), progress,
    html("div", { class: "main" },
      html("div", { class: "strong" }, html("h3", {}, "How strong it is"),
        html("p", { class: "big" }, strength.value), html("p", { class: "interval" }, strength.interval),
        strength.points ? sparkline(strength.points, strength.what) : null, html("p", {}, strength.text)),
      html("div", { class: "health" }, html("h3", {}, "How the run goes"),
        html("p", { class: `level ${run.health.level}` }, html("span", { class: "icon", "aria-hidden": "true" }, icon), ` ${word}`),
        html("ul", {}, ...run.health.reasons.map(reason => html("li", {}, reason))))),
    html("dl", { class: "figures" },
      figure("CPU time", Number.isFinite(last("total.cpu_seconds")) ? format.seconds(last("total.cpu_seconds")) : "–"),
      figure("wall time", Number.isFinite(last("seconds")) ? format.seconds(last("seconds")) : "–"),
      figure("games", Number.isFinite(last("total.games")) ? format.number(last("total.games")) : "–"),
      figure("positions", Number.isFinite(last("total.positions")) ? format.number(last("total.positions")) : "–"),
      figure("as of", new Date(1000 * run.read).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }))),
    run.notices.length ? html("div", { class: "notices" }, html("b", {}, "What is missing here"), html("ul", {}, ...run.notices.map(notice => html("li", {}, notice)))) : null);
}

function drawBar(page, parts, data) {
  const bar = slot(page, "bar", () => html("nav", { class: "bar", "aria-label": "curves and parts" },
    html("fieldset", { class: "axes" }, html("legend", {}, "x axis of all curves"),
      ...Object.entries(AXES).map(([key, { name }]) => html("label", {},
        html("input", { type: "radio", name: "axis", value: key, checked: key === shown.axis, change: () => { shown.axis = key; showReport(shown.data); } }),
        html("span", {}, name)))),
    html("div", { class: "links" }, ...parts.map(([id, title]) => html("a", { href: `#${id}` }, title)))));
  slot(bar, "runs", () => html("div", { class: "runs" }));
  if (data.runs.length > 1) {
    fill(bar.slots.get("runs"), data.runs.map(run => run.name),
      ...data.runs.map((run, index) => html("span", { class: "value" }, html("span", { class: `key c${index}` }), ` ${run.name}`)));
  }
  // What is linked to comes to lie below the bar, however high it is.
  document.documentElement.style.scrollPaddingTop = `${bar.offsetHeight + 12}px`;
}

// ------------------------------------------------------------------------------------------------------------- Curves

// Where a generation lies on the x axis of the curves.
function placeOf(run, generation) {
  if (shown.axis === "generation") return generation;
  const { columns } = run, at = (columns.generation || []).findIndex(g => g >= generation);
  return at < 0 ? null : columns[AXES[shown.axis].column]?.[at];
}

// The marks of a curve: where rules had something to say, and where settings were changed.
function marksOf(data, rules) {
  return data.runs.flatMap((run, index) => {
    const whose = data.runs.length > 1 ? `${run.name}: ` : "";
    const said = run.advice.filter(({ rule }) => rules.includes(rule)).flatMap(({ rule, spans }) => spans.slice(-3).map(([first, last]) => ({
      kind: "advice", from: placeOf(run, first), to: placeOf(run, last), link: `#advice-${index}-${rule}`,
      label: `${whose}${rule.replaceAll("_", " ")}`, text: first === last ? `(generation ${first})` : `(generations ${first} to ${last})`,
    })));
    const changed = run.changes.filter(({ generation }) => generation > 1).map(({ generation, key, from, to }) => ({
      kind: "change", from: placeOf(run, generation), to: placeOf(run, generation), label: `${whose}${key}`, text: `${from} → ${to} from generation ${generation} on`,
    }));
    return [...said, ...changed].filter(({ from, to }) => Number.isFinite(from) && Number.isFinite(to));
  });
}

function chartIn(section, key, about) {
  const grid = slot(section, "charts", () => html("div", { class: "grid" }));
  const box = slot(grid, key, () => html("div"));
  box.chart ??= new Chart(box, about);
  return box.chart;
}

// Curves over the x axis of all curves. `lines` are { name, column } or { name, of: columns => values } of the metrics, or
// { name, at: (line, run) => value, band: (line, run) => [low, high] } of the strength.
function curves(section, data, key, { title, help, lines, y = {}, rules = [], tall = false }) {
  const axis = AXES[shown.axis];
  const several = data.runs.length > 1;
  const series = data.runs.flatMap((run, index) => lines(run).map((line, k) => {
    const xs = line.at ? run.strength.map(one => one[axis.field]) : run.columns[axis.column] || [];
    const ys = line.at ? run.strength.map(one => line.at(one, run)) : line.of ? line.of(run.columns) : run.columns[line.column] || [];
    const bands = line.band ? run.strength.map(one => line.band(one, run) || []) : [];
    return {
      name: several ? `${run.name}${line.name && lines(run).length > 1 ? `, ${line.name}` : ""}` : line.name,
      colour: several ? index : line.colour ?? k, dash: several ? k % 4 : line.dash || 0,
      points: xs.map((x, at) => [x, ys[at] ?? NaN, ...(bands[at] || [])]),
    };
  }));
  chartIn(section, key, { title, help, tall, group: "curves" }).show({
    series, x: axis,
    // What was changed is told below the curves that it is to change.
    marks: marksOf(data, rules).map(mark => ({ ...mark, silent: mark.kind === "change" && !tall && rules !== LEARNING })), y: { format: format.number, least: 0, ...y },
  });
}

// A curve of the newest line of the strength, over something of its own.
function newest(section, data, key, { title, help, lines, x, y, diagonal = false, spread = false }) {
  const several = data.runs.length > 1;
  const series = data.runs.flatMap((run, index) => {
    const graded = run.strength.filter(line => lines.some(({ of }) => of(line, run).length));
    if (!graded.length) return [];
    const [first, last] = [graded[0], graded.at(-1)];
    const now = lines.map(({ name, of, dash = 0 }, k) => ({
      name: several ? `${run.name}${lines.length > 1 ? `, ${name}` : ""}` : lines.length > 1 ? name : `generation ${last.generation}`,
      colour: several ? index : k, dash: several ? k % 4 : dash, points: of(last, run),
    }));
    const then = spread && !several && first !== last
      ? [{ name: `generation ${first.generation}`, colour: 6, dash: 1, points: lines[0].of(first, run) }] : [];
    return [...then, ...now];
  });
  chartIn(section, key, { title, help }).show({ series, x, y: { format: format.number, least: 0, ...y }, diagonal });
}

function strengthPart(section, data) {
  const measured = data.runs.some(run => run.strength.length);
  const note = slot(section, "note", () => html("p", { class: "note" }));
  note.textContent = measured ? data.runs.map(run => {
    const skipped = run.strength.reduce((sum, line) => sum + line.skipped.length, 0);
    const spent = run.strength.reduce((sum, line) => sum + line.grading_seconds, 0);
    return `${data.runs.length > 1 ? `${run.name}: ` : ""}${run.strength.length ? `Measured in ${many(run.strength.length, "generation")}, which took ${format.seconds(spent)}` : "Not measured yet"}`
      + `${skipped ? `; ${skipped} more were due and left out, because the share of the time for measuring was used up` : ""}.`;
  }).join(" ") : "Nothing has been measured of its strength over the generations so far. What can be seen of learning stands under \"Learning\".";
  const last = run => (run.strength.at(-1)?.mistakes || []).map(one => one.simulations);
  const find = (line, simulations) => {
    const found = (line.mistakes || []).find(one => one.simulations === simulations);
    return found && found.positions ? found : null;
  };
  curves(section, data, "mistakes", {
    title: "Mistakes", tall: true, y: { format: format.share },
    help: "The share of positions with known results in which its move gives a result away: a win becomes a draw or a loss, or a draw a loss. Lower is better, and 0 is perfect. The band is the 95 % interval: two values whose bands overlap may be equal.",
    lines: run => [{ name: `with ${run.grade_simulations} simulations`, at: line => mistakesOf(line)?.share, band: line => mistakesOf(line)?.interval }],
  });
  curves(section, data, "elo", {
    title: "Strength in Elo", tall: true, y: { format: format.elo, least: undefined },
    help: "Plain tree search without a network is 0. 100 points more are an expected score of 64 %, 200 of 76 %, 400 of 91 %. The band is the 95 % interval of the newest match, given the strength of its opponent.",
    lines: () => [{ name: "Elo", at: line => line.played?.elo, band: line => line.played?.interval }],
  });
  curves(section, data, "mistakes-by-simulations", {
    title: data.runs.length > 1 ? "Mistakes of the network alone" : "Mistakes with more or less search", y: { format: format.share },
    help: "0 simulations take the network's first choice. The network has learned what the search knew if the curves come together; a wide gap says that search still finds much that the network does not see.",
    lines: run => (data.runs.length > 1 ? last(run).slice(0, 1) : last(run)).map((simulations, k) => ({
      name: simulations ? `${simulations} simulations` : "network alone", colour: k,
      at: line => { const found = find(line, simulations); return found && found.mistakes / found.positions; },
    })),
  });
  const steps = [...new Set(data.runs.flatMap(run => run.strength.flatMap(line => [...line.mistakes, ...line.search].map(one => one.simulations))))].sort((a, b) => a - b);
  const x = { label: "simulations", names: steps.map(String), least: 0, most: Math.max(1, steps.length - 1) };
  newest(section, data, "search-pays", {
    title: "What search adds to the player of now", x, y: { format: format.share }, spread: true,
    help: "Mistakes over the number of simulations. A curve that falls to the right says that more time for a move makes it stronger; one that is flat says that it does not.",
    lines: [{ name: "mistakes", of: (line, run) => line.mistakes.filter(one => one.positions).map(one => [steps.indexOf(one.simulations), one.mistakes / one.positions, ...one.interval]) }],
  });
  newest(section, data, "regret", {
    title: "What a move gives away", x, spread: true,
    help: "The mean value that the move chosen with so many simulations gives away, as the longest search sees it; a win and a loss are 2 apart.",
    lines: [{ name: "regret", of: line => line.search.map(one => [steps.indexOf(one.simulations), one.regret]) }],
  });
  newest(section, data, "same-move", {
    title: "The same move as the longest search", x, y: { format: format.share, most: 1 }, spread: true,
    help: "The share of positions in which so many simulations choose the move of the longest search.",
    lines: [{ name: "same move", of: line => line.search.map(one => [steps.indexOf(one.simulations), one.same_move]) }],
  });
  verdictTable(section, data);
}

function verdictTable(section, data) {
  const box = slot(section, "verdict", () => html("div", { class: "table" }));
  const rows = data.runs.flatMap(run => run.verdict.filter(line => line && line.set).map(line => [run.name, line]));
  box.hidden = !rows.length;
  const several = data.runs.length > 1;
  fill(box, rows, html("table", {}, html("caption", {}, "How the player was graded at the end"),
    html("thead", {}, html("tr", {}, several ? html("th", { scope: "col" }, "run") : null, html("th", { scope: "col" }, "set"),
      ...["of", "wrong", "share", "simulations"].map(name => html("th", { scope: "col", class: "number" }, name)))),
    html("tbody", {}, ...rows.map(([name, line]) => {
      const all = line.positions ?? line.games, wrong = line.mistakes ?? line.lost;
      return html("tr", {}, several ? html("td", {}, name) : null, html("td", {}, String(line.set).replaceAll("_", " ")),
        ...[`${all} ${line.positions === undefined ? "games" : "positions"}`, wrong, all ? format.share(wrong / all) : "", line.simulations]
          .map(cell => html("td", { class: "number" }, String(cell))));
    }))));
}

// The runs that can play against another one, by their games.
function rivals(data) {
  return Object.values(Object.groupBy(data.runs, run => `${run.game}: ${run.title}`)).filter(runs => runs.length > 1);
}

// The newest match of each two runs, as the run of the row sees it. Both runs have a line of it, with the same time.
function matchesPart(section, data) {
  const note = slot(section, "note", () => html("p", { class: "note" }));
  note.textContent = "The score of the run in the row against the run in the column, and by how much it is stronger, in Elo with the 95 % interval of the games. "
    + "An empty place has the command that plays the match; name the runs by the paths of their folders.";
  const box = slot(section, "tables", () => html("div"));
  const elo = x => (typeof x === "number" ? format.elo(x) : x === "inf" ? "+∞" : "−∞");
  const cell = (row, column) => {
    if (row === column) return html("td", { class: "none" }, "–");
    const met = row.matches.findLast(one => column.matches.some(({ played }) => played === one.played));
    if (!met) return html("td", { class: "none" }, html("code", {}, `lockstep compare ${row.name} ${column.name}`));
    const sure = met.low > 0 || met.low === "inf" ? "good" : met.high < 0 || met.high === "-inf" ? "bad" : null;
    return html("td", {}, html("b", { class: sure }, format.share(met.score)), ` ${elo(met.elo)} Elo (${elo(met.low)} to ${elo(met.high)})`,
      html("div", { class: "help" }, `${met.results.join(" / ")} won, drawn, lost; generation ${met.generation} against ${met.against_generation}, ${many(met.simulations, "simulation")} a move`));
  };
  fill(box, data.runs.map(run => [run.name, run.matches]), ...rivals(data).map(runs => html("div", { class: "table" }, html("table", { class: "cross" },
    html("caption", {}, runs[0].title),
    html("thead", {}, html("tr", {}, html("td"), ...runs.map(run => html("th", { scope: "col" }, `against ${run.name}`)))),
    html("tbody", {}, ...runs.map(row => html("tr", {}, html("th", { scope: "row" }, row.name), ...runs.map(column => cell(row, column)))))))));
}

function diagnosisPart(section, data) {
  const note = slot(section, "note", () => html("p", { class: "note" }));
  note.hidden = data.runs.some(run => run.strength.length);
  note.textContent = "These figures are measured with the strength, of which there is none so far.";
  const of = field => [{ name: "", at: line => line[field] ?? null }];
  const named = (name, field) => () => of(field).map(line => ({ ...line, name }));
  curves(section, data, "divergence", {
    title: "What the search adds to the network",
    help: "Divergence of the search's policy from the network's, in nats, on positions that stay the same. It falls while the network absorbs what the search finds. High and flat: the network is too small or learns too slowly. Near 0: the search adds nothing more.",
    lines: named("divergence", "divergence"),
  });
  curves(section, data, "agreement", {
    title: "The same first choice as before", y: { format: format.share },
    help: "The share of these positions in which the network prefers the move that it preferred when it was measured last. Near 100 % it has settled; a fall says that it changes its mind.",
    lines: named("agreement", "agreement"),
  });
  curves(section, data, "explained", {
    title: "Explained variance of the value", y: { format: format.share, least: undefined },
    help: "How much of the differences between the results of new games the network's value foresees. 0 % is no more than a guess, 100 % would foresee every result. It should rise at first; games between equal players stay hard to foresee.",
    lines: named("explained", "explained_variance"),
  });
  curves(section, data, "entropy", {
    title: "How undecided the network is", y: { format: format.share },
    help: "Entropy of the network's policy: 100 % are equal chances for all moves, 0 % is always one move. It falls as it learns; close to 0 % early in a run, it has stopped to explore.",
    lines: named("relative entropy", "relative_entropy"), rules: ["collapsed_policy"],
  });
  newest(section, data, "calibration", {
    title: "Does the value mean what it says?", diagonal: true, spread: true,
    x: { label: "value", format: format.value, least: -1, most: 1 }, y: { format: format.value, least: -1, most: 1 },
    help: "Mean results of new games over the value that the network gave. On the dashed line it is right on average; flatter than the line it is too sure of itself, steeper too careful.",
    lines: [{ name: "result", of: line => line.calibration.filter(bin => bin.positions).map(bin => [bin.value, bin.result]) }],
  });
  newest(section, data, "by-ply", {
    title: "Policy loss by move of the game", x: { label: "move", format: format.whole, whole: true },
    help: "Cross-entropy in nats after so many moves, and the floor that a perfect policy would leave. Where the two are far apart, that phase of the game is not learned yet.",
    lines: [
      { name: "policy loss", of: line => line.by_ply.map(one => [one.ply, one.policy]) },
      { name: "floor", dash: 1, of: line => line.by_ply.map(one => [one.ply, one.floor]) },
    ],
  });
  newest(section, data, "value-by-ply", {
    title: "Value error by move of the game", spread: true, x: { label: "move", format: format.whole, whole: true },
    help: "Mean squared error of the value after so many moves: 1 is no better than always saying 0 in games without draws. It should fall towards the end of a game.",
    lines: [{ name: "value", of: line => line.by_ply.map(one => [one.ply, one.value]) }],
  });
  newest(section, data, "by-distance", {
    title: "Value error by moves to the end", spread: true, x: { label: "moves to the end", format: format.whole, whole: true },
    help: "Root of the mean squared error of the value, so many moves before the end. Large errors close to the end are endings that it cannot count.",
    lines: [{ name: "error", of: line => line.by_distance.map(one => [one.plies_left, one.rms]) }],
  });
  curves(section, data, "openings", {
    title: "Different openings", y: { format: format.share },
    help: "The share of the games of a round that differ in their first moves. Near 0 % all games are alike, and it learns one line only.",
    lines: named("different openings", "distinct_openings"), rules: BROKEN,
  });
}

function learningPart(section, data) {
  const has = (run, name) => run.columns[name]?.some(Number.isFinite);
  curves(section, data, "policy-loss", {
    title: "Policy loss", y: { least: undefined }, rules: LEARNING,
    help: "Cross-entropy between search and network in nats, and its floor, which even a perfect policy leaves: the entropy of what the search says. What counts is the gap. It closes as the network learns; the floor itself may rise or fall with the games.",
    lines: () => [{ name: "policy loss", column: "policy_loss" }, { name: "floor", column: "policy_floor", dash: 1 }],
  });
  curves(section, data, "policy-gap", {
    title: "Policy loss above its floor", rules: LEARNING,
    help: "The part of the policy loss that can be learned, in nats. Falling: it learns. Flat and high: a larger network or a lower learning rate may help. Near 0: it knows all that the search says.",
    lines: () => [{ name: "gap", of: columns => (columns.policy_loss || []).map((loss, k) => loss - columns.policy_floor[k]) }],
  });
  curves(section, data, "value-loss", {
    title: "Value loss", y: { least: undefined }, rules: LEARNING,
    help: "The loss of the value: squared error, or cross-entropy of win, draw and loss in nats. It falls as results become foreseeable; it never reaches 0 in games between equal players.",
    lines: run => [{ name: "value loss", column: "value_loss" }, ...Object.keys(run.columns).filter(name => name.startsWith("other_losses."))
      .map(column => ({ name: `${column.slice(13)} loss`, column }))],
  });
  curves(section, data, "rate", {
    title: "Learning rate", help: "The learning rate of the last step of each generation. Losses and strength often improve once more when it falls at the end.",
    lines: () => [{ name: "learning rate", column: "learning_rate" }],
  });
  curves(section, data, "gradient", {
    title: "Gradient", help: "The mean norm of the whole gradient of a step, before clipping. Peaks say that the learning rate is high; a steady rise says that learning becomes unstable.",
    lines: () => [{ name: "norm", column: "gradient_norm" }],
  });
  curves(section, data, "skipped", {
    title: "Steps left out", rules: ["skipped_steps"], help: "Steps of the optimiser that were left out because a loss or a gradient was not finite. There should be none.",
    lines: run => (has(run, "skipped_steps") ? [{ name: "steps", of: columns => columns.skipped_steps.map(steps => steps ?? 0) }] : []),
  });
  curves(section, data, "replay", {
    title: "Positions to learn from", help: "Positions in the replay buffer, and different ones of them. Few different ones: the games repeat themselves.",
    lines: () => [{ name: "positions", column: "replay" }, { name: "different", column: "distinct_positions", dash: 1 }],
  });
}

function gamesPart(section, data) {
  curves(section, data, "results", {
    title: "Results", y: { format: format.share, most: 1 }, rules: BROKEN,
    help: "The first player's score, where a draw counts half, and the share of draws. Far from 50 % the game favours one side; a rising share of draws is usual where best play draws.",
    lines: () => [{ name: "first player's score", column: "first_player_score" }, { name: "draws", column: "draws" }],
  });
  curves(section, data, "length", {
    title: "Length of games", y: { least: undefined }, help: "Mean number of moves. Games often become longer at first, when both sides begin to defend, and change with every new idea.",
    lines: () => [{ name: "moves", column: "mean_length" }],
  });
  curves(section, data, "different", {
    title: "Different games", y: { format: format.share, most: 1 }, rules: BROKEN,
    help: "The share of the games of a generation that differ in their moves. A perfect player of a small game repeats itself; anybody else needs variety to learn.",
    lines: () => [{ name: "different games", column: "distinct_games" }],
  });
  curves(section, data, "targets", {
    title: "How undecided the search is", rules: ["collapsed_policy"],
    help: "Mean entropy of what the search teaches, in nats. Near 0 it puts all its weight on one move, and teaches nothing about the others.",
    lines: () => [{ name: "entropy", column: "policy_entropy" }],
  });
  const several = data.runs.length > 1;
  const rounds = data.runs.map((run, index) => ({ run, index })).filter(({ run }) => run.round);
  chartIn(section, "lengths", {
    title: "Lengths of the newest games", help: "How many games of the newest round had so many moves.",
  }).show({
    series: rounds.map(({ run, index }) => ({
      name: several ? run.name : `games of round ${run.round.round}`, colour: index, bars: !several,
      points: several ? run.round.lengths.map(([x, n]) => [x, n / run.round.games]) : run.round.lengths,
    })),
    x: { label: "moves", format: format.whole, whole: true }, y: { format: several ? format.share : format.whole, least: 0 },
  });
  drawFirstMoves(section, rounds, several);
}

function drawFirstMoves(section, rounds, several) {
  const grid = section.slots.get("charts");
  for (const { run, index } of rounds) {
    const box = slot(grid, `first-${index}`, () => html("div", { class: "chart" }));
    const { round, games, results, first_moves } = run.round;
    box.hidden = !run.start;
    if (box.hidden) continue;
    const all = first_moves.reduce((sum, [, count]) => sum + count, 0);
    const name = action => run.start.legal.find(move => move.action === action)?.text ?? String(action);
    const board = html("div", { class: "small-board" });
    fill(box, run.round,
      html("h3", {}, several ? `First moves of ${run.name}` : "First moves"), board,
      all ? html("p", { class: "readout" }, ...first_moves.slice(0, 6).map(([action, count, score]) => html("span", { class: "value" },
        `${name(action)} `, html("b", {}, format.share(count / all)), ` (first player scores ${format.share(score)})`))) : null,
      html("p", { class: "help" }, all
        ? `What the ${all} games of round ${round} that no random move opened began with. All ${games} games: the first player won ${results[0]}, ${results[1]} were drawn, the second player won ${results[2]}.`
        : `Random moves opened all ${games} games of round ${round}: the first player won ${results[0]}, ${results[1]} were drawn, the second player won ${results[2]}.`));
    if (board.isConnected && !board.firstChild) {
      const most = Math.max(1, ...first_moves.map(([, count]) => count));
      new Board(board).show(run.start, first_moves.map(([action, count]) => ({ action, share: count / most })));
    }
  }
}

function speedPart(section, data) {
  const share = name => columns => (columns[`stages.${name}`] || []).map((spent, k) => {
    const all = columns.play_seconds[k] + columns.learn_seconds[k] + (columns.write_seconds?.[k] ?? 0);
    return all > 0 ? spent / all : null;
  });
  const of = name => columns => (columns[name] || []).map((spent, k) => {
    const all = columns.play_seconds[k] + columns.learn_seconds[k] + (columns.write_seconds?.[k] ?? 0);
    return all > 0 ? spent / all : null;
  });
  curves(section, data, "simulations", {
    title: "Simulations per second", rules: SPEED, help: "Simulations of the searches per second of playing, those that the cache or a rule answers included.",
    lines: () => [{ name: "simulations/s", column: "simulations_per_second" }],
  });
  curves(section, data, "evaluations", {
    title: "Evaluations per second", rules: SPEED, help: "Positions that the network evaluated per second of playing.",
    lines: () => [{ name: "evaluations/s", column: "evaluations_per_second" }],
  });
  curves(section, data, "stages", {
    title: "Where the time goes", y: { format: format.share, most: 1 }, rules: SPEED,
    help: "Shares of the time of a generation: the network's answers, the search trees, making batches, learning, and writing files.",
    lines: () => [
      { name: "network", of: share("evaluate") }, { name: "trees", of: share("search") }, { name: "batches", of: share("collect") },
      { name: "learning", of: of("learn_seconds") }, { name: "writing", of: of("write_seconds") },
    ].slice(0, data.runs.length > 1 ? 1 : 5),
  });
  curves(section, data, "fill", {
    title: "Batches and cache", y: { format: format.share, most: 1 }, rules: SPEED,
    help: "The share of computed rows that carried a position, and the share of simulations that the cache answered. Rows without a position are wasted work.",
    lines: () => [{ name: "rows in use", column: "batch_fill" }, { name: "from the cache", column: "cache_hits" }],
  });
  curves(section, data, "batch", {
    title: "Rows of a batch", rules: SPEED, help: "Mean number of positions that the network evaluates at once. Larger batches are faster, up to what the device can hold.",
    lines: () => [{ name: "rows", column: "mean_batch" }],
  });
  curves(section, data, "memory", {
    title: "Memory", y: { format: format.bytes }, rules: MEMORY,
    help: "Memory in use at most, and the bound that was printed before the run began. It must stay below the bound.",
    lines: () => [{ name: "in use", column: "machine.resident" }, { name: "bound", column: "machine.bound", dash: 1 }],
  });
  curves(section, data, "cores", {
    title: "Cores", rules: ["busy_machine", "too_many_threads"], help: "Cores that were busy with this run on average, and with other programs: what others take is missing here.",
    lines: () => [{ name: "this run", column: "machine.cores_busy" }, { name: "other programs", column: "machine.cores_others" }],
  });
  curves(section, data, "gpu", {
    title: "GPU", y: { format: format.share, most: 1 }, rules: ["idle_device", "full_device"], help: "How busy the GPU was, as its driver tells.",
    lines: run => (run.columns["machine.gpu.utilisation"] ? [{ name: "utilisation", column: "machine.gpu.utilisation" }] : []),
  });
  curves(section, data, "workers", {
    title: "Workers of the fleet", help: "Workers on other machines that were there when a generation ended.",
    lines: run => (run.columns["fleet.workers"] ? [{ name: "workers", column: "fleet.workers" }] : []),
  });
  curves(section, data, "waiting", {
    title: "Workers that wait", y: { format: format.share, most: 1 },
    help: "The share of their time in which workers had nothing to play, because the learner was learning or the round was ending, and in which they waited for weights. With run.lag = 2 they play on while the learner learns.",
    lines: run => (run.columns["fleet.waited"] ? [{ name: "for games", column: "fleet.waited" }, { name: "for weights", column: "fleet.loading" }] : []),
  });
  const machines = slot(section, "machines", () => html("p", { class: "note" }));
  machines.textContent = data.runs.filter(run => run.machine).map(run =>
    `${data.runs.length > 1 ? `${run.name}: ` : ""}${run.machine.device} in ${run.machine.precision}, ${many(run.machine.threads, "thread")} on ${many(run.machine.cores, "core")}.`).join(" ");
}

// ------------------------------------------------------------------------------------------------- Advice and settings

function advicePart(section, data) {
  const box = slot(section, "list", () => html("div"));
  const several = data.runs.length > 1;
  const all = data.runs.flatMap((run, index) => run.advice.map(said => ({ run, index, said })));
  const now = ({ run, said }) => said.spans.at(-1)[1] === run.generation;
  fill(box, all.map(({ index, said }) => [index, said]), all.length
    ? html("ul", { class: "advices" }, ...all.sort((a, b) => now(b) - now(a)).map(one => {
      const { run, index, said } = one;
      return html("li", { id: `advice-${index}-${said.rule}`, tabindex: -1 },
        html("h3", {}, several ? `${run.name}: ` : "", said.rule.replaceAll("_", " "),
          html("span", { class: now(one) ? "tag warn" : "tag" }, now(one) ? "applies now" : `last in generation ${said.spans.at(-1)[1]}`)),
        html("p", {}, said.text),
        html("p", { class: "help" }, `In ${said.count} generations: ${said.spans.slice(-8).map(([a, b]) => (a === b ? a : `${a} to ${b}`)).join(", ")}.`));
    }))
    : html("p", { class: "note" }, "No rule has had anything to say: nothing looks broken or slow."));
}

function settingsPart(section, data) {
  const several = data.runs.length > 1;
  const changes = data.runs.flatMap(run => run.changes.map(change => [run.name, change]));
  const changed = slot(section, "changes", () => html("div", { class: "table" }));
  changed.hidden = !changes.length;
  fill(changed, changes, html("table", {}, html("caption", {}, "What was changed after the run had begun"),
    html("thead", {}, html("tr", {}, several ? html("th", { scope: "col" }, "run") : null, ...["from generation", "key", "before", "after"].map(name => html("th", { scope: "col" }, name)))),
    html("tbody", {}, ...changes.map(([name, { generation, key, from, to }]) => html("tr", {}, several ? html("td", {}, name) : null,
      html("td", {}, String(generation)), html("td", { class: "code" }, key), html("td", { class: "code" }, from), html("td", { class: "code" }, to))))));
  const value = (run, key) => run.settings.find(one => one.key === key)?.value;
  const keys = [...new Set(data.runs.flatMap(run => run.settings.map(one => one.key)))];
  const differ = several ? keys.filter(key => new Set(data.runs.map(run => value(run, key))).size > 1) : [];
  const head = html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "key"), ...data.runs.map(run => html("th", { scope: "col" }, run.name))));
  const differences = slot(section, "differences", () => html("div", { class: "table" }));
  differences.hidden = !several;
  fill(differences, [differ, data.runs.map(run => run.settings)], html("table", {}, html("caption", {}, differ.length ? "Settings that differ" : "All settings are the same"),
    differ.length ? head : null, html("tbody", {}, ...differ.map(key => html("tr", {}, html("th", { scope: "row", class: "code" }, key),
      ...data.runs.map(run => html("td", { class: "code" }, value(run, key) ?? "–")))))));
  const details = slot(section, "all", () => html("details", {}, html("summary", {}, "All settings, with what they mean"), html("div", { class: "table" })));
  fill(details.lastChild, data.runs.map(run => run.settings), html("table", { class: "settings" },
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "key"), ...data.runs.map(run => html("th", { scope: "col" }, several ? run.name : "value")), html("th", { scope: "col" }, "meaning"))),
    html("tbody", {}, ...keys.map(key => html("tr", {}, html("th", { scope: "row", class: "code" }, key), ...data.runs.map(run => {
      const own = run.settings.find(one => one.key === key);
      return html("td", { class: own?.usual ? "code own" : "code" }, own?.value ?? "–", own?.usual ? html("span", { class: "usual" }, `default ${own.usual}`) : null);
    }), html("td", { class: "meaning" }, data.meanings[key] ?? ""))))));
}

// ----------------------------------------------------------------------------------------------- Games and positions

// A choice between runs, where there are several.
function chooseRun(section, data, what) {
  const box = slot(section, "choose", () => html("p", { class: "choose" }));
  box.hidden = data.runs.length < 2;
  if (data.runs.length > 1) {
    fill(box, data.runs.map(run => run.name), html("label", {}, "Run: ", html("select", {
      change: event => { shown.run[what] = Number(event.currentTarget.value); showReport(shown.data); },
    }, ...data.runs.map((run, index) => html("option", { value: index, selected: index === shown.run[what] }, run.name)))));
  }
  return Math.min(shown.run[what], data.runs.length - 1);
}

function resultOf(game) {
  const text = { "1": "first player won", "0": "drawn", "-1": "second player won" }[game.result];
  return Number.isFinite(game.score) && game.score !== null ? `${text} by ${format.number(Math.abs(game.score))}` : text;
}

function replayPart(section, data) {
  const index = chooseRun(section, data, "games");
  const run = data.runs[index];
  const box = slot(section, "replay", () => html("div"));
  if (!run.start || !run.games.length) {
    fill(box, ["none", index], html("p", { class: "note" }, "There is no whole round of games in the log of this run yet, or it cannot be read."));
    return;
  }
  const name = game => `${game.round}-${game.number}`;
  const own = shown.game[index] ??= { game: null, ply: null, chosen: false };
  // A game that somebody looks at stays, though newer ones have come.
  if (!own.chosen || !own.game) own.game = run.games[0];
  const games = run.games.some(game => name(game) === name(own.game)) ? run.games : [own.game, ...run.games];
  const signature = [index, games.map(name), name(own.game)];
  const ply = Math.min(own.ply ?? Infinity, own.game.plies.length);
  if (box.signature !== JSON.stringify(signature)) buildReplay(box, signature, run, own, games, name);
  box.go(ply);
}

function buildReplay(box, signature, run, own, games, name) {
  const { game } = own;
  const board = html("div", { class: "board-box" }), status = html("p", { class: "status", "aria-live": "polite" });
  const slider = html("input", { type: "range", min: 0, max: game.plies.length, step: 1, "aria-label": "move of the game", input: event => { stop(); look(Number(event.currentTarget.value)); } });
  const step = (label, sign, to) => html("button", { type: "button", "aria-label": label, title: label, click: () => { stop(); look(to()); } }, sign);
  let timer = null;
  function look(ply) {
    own.chosen = true;
    box.go(ply);
  }
  const play = html("button", { type: "button", click: () => {
    if (timer) return stop();
    look(own.ply >= game.plies.length ? 0 : own.ply);
    play.textContent = "pause";
    timer = setInterval(() => { if (!box.isConnected || own.ply >= game.plies.length) stop(); else box.go(own.ply + 1); }, 700);
  } }, "play");
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "play";
  }
  const choose = html("select", { "aria-label": "game", change: event => {
    stop();
    Object.assign(own, { game: games.find(one => name(one) === event.currentTarget.value), ply: 0, chosen: true });
    showReport(shown.data);
  } }, ...games.map(one => html("option", { value: name(one), selected: one === game }, `Round ${one.round}, game ${one.number + 1}: ${resultOf(one)}, ${one.plies.length} moves`)));
  const moves = html("ol", { class: "moves" }, ...game.plies.map((one, at) => html("li", {}, html("button", {
    type: "button", class: at < game.opening ? "random" : null, title: at < game.opening ? "drawn at random" : null, click: () => { stop(); look(at + 1); },
  }, `${at + 1}. ${one.text}`))));
  const expects = html("div");
  fill(box, signature, html("p", { class: "choose" }, choose), html("div", { class: "replay" },
    html("div", {}, board, html("div", { class: "controls" },
      step("to the start", "|◀", () => 0), step("one move back", "◀", () => own.ply - 1), play,
      step("one move on", "▶", () => own.ply + 1), step("to the end", "▶|", () => game.plies.length)), slider, status),
    html("div", {}, expects, moves)));
  const drawn = new Board(board);
  const chart = new Chart(expects, { title: "What the search expected", help: "The result that the search expected before each move, for the first player: +1 is a win, −1 a loss. Moves without a value were drawn at random." });
  chart.show({
    series: [{ name: "expected", colour: 0, points: game.plies.map((one, at) => [at + 1, one.value ?? NaN]) }],
    x: { label: "move", format: format.whole, whole: true, least: 1, most: Math.max(2, game.plies.length) }, y: { format: format.value, least: -1, most: 1 },
  });
  box.go = ply => {
    own.ply = Math.max(0, Math.min(game.plies.length, ply));
    const made = game.plies[own.ply - 1], next = game.plies[own.ply];
    const over = own.ply === game.plies.length;
    drawn.show({
      ...run.start, legal: [], cells: made ? made.cells : run.start.cells, last: made ? made.last : [],
      to_move: next ? next.by : 0, result: over ? game.result : null,
    });
    slider.value = own.ply;
    slider.setAttribute("aria-valuetext", made ? `move ${own.ply}, ${made.text}` : "start");
    const who = made && ["first", "second"][made.by];
    const value = made && made.value !== null ? `, who was expected to score ${format.value((made.by ? -1 : 1) * made.value)}` : made ? ", drawn at random" : "";
    status.textContent = made ? `Move ${own.ply} of ${game.plies.length}: ${made.text} by the ${who} player${value}.${over ? ` The game is over: ${resultOf(game)}.` : ""}` : "The start of the game.";
    moves.querySelectorAll("button").forEach((button, at) => {
      if (at + 1 === own.ply) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
    });
    chart.move(own.ply || null);
  };
}

function wrongPart(section, data) {
  const index = chooseRun(section, data, "wrong");
  const { wrong, state, name, strength, verdict } = data.runs[index];
  const box = slot(section, "positions", () => html("div"));
  const run = `lockstep report ${name}`;
  if (!wrong) {
    const oracle = verdict.length || strength.some(line => line.mistakes.length);
    fill(box, ["none", index, state, oracle], html("p", { class: "note" }, state === "training"
      ? "They are not looked for while the run trains: `lockstep report` with its folder looks for them in its newest checkpoint."
      : oracle ? `They have not been looked for: \`${run}\` does that, with the path of its folder.`
        : "There are no positions of this game whose results are known. `lockstep label` makes some for games whose ends can be solved; `lockstep report` takes them with --positions."));
    return;
  }
  const how = wrong.simulations ? `with ${wrong.simulations} simulations a move` : "by the network alone";
  fill(box, [index, wrong],
    html("p", { class: "note" }, wrong.mistakes
      ? `The checkpoint of generation ${wrong.checkpoint} gives a result away in ${wrong.mistakes} of ${wrong.positions} positions, ${how}. The ${wrong.shown.length} worst of them, worst first:`
      : `The checkpoint of generation ${wrong.checkpoint} makes no mistake in ${wrong.positions} positions, ${how}.`),
    html("div", { class: "positions" }, ...wrong.shown.slice(0, 8).map(wrongCard)),
    wrong.shown.length > 8 ? html("details", {}, html("summary", {}, `${wrong.shown.length - 8} more`), html("div", { class: "positions" }, ...wrong.shown.slice(8).map(wrongCard))) : null);
}

function wrongCard(one) {
  const { view, moves, chosen } = one;
  const text = action => view.legal.find(move => move.action === action)?.text ?? String(action);
  const best = moves.reduce((best, move) => (move.score > best.score ? move : best), moves[0]);
  const played = moves.find(move => move.action === chosen) ?? moves[0];
  const favourite = moves.reduce((best, move) => (move.prior > best.prior ? move : best), moves[0]);
  const visits = moves.reduce((sum, move) => sum + move.visits, 0);
  const word = score => RESULTS[Math.sign(score)];
  const board = html("div", { class: "board-box" });
  new Board(board).show(view, [
    { action: best.action, share: 0.6, text: "✓", kind: "good" },
    { action: played.action, share: 0.6, text: "✗", kind: "bad" },
  ]);
  const order = [...moves].sort((a, b) => b.visits - a.visits || b.prior - a.prior).slice(0, 6);
  for (const move of [best, played]) if (!order.includes(move)) order.push(move);
  return html("article", { class: "wrong" }, board,
    html("p", {}, html("b", {}, `${["First", "Second"][view.to_move]} player to move. `), "It plays ", html("b", { class: "bad" }, `✗ ${text(played.action)}`),
      `, a ${word(played.score)}; `, html("b", { class: "good" }, `✓ ${text(best.action)}`), ` is a ${word(best.score)}.`),
    html("dl", { class: "says" },
      html("dt", {}, "network"), html("dd", {}, `prefers ${text(favourite.action)} (${format.share(favourite.prior)}); value ${format.value(one.network)}`),
      html("dt", {}, "search"), html("dd", {}, `plays ${text(played.action)} (${played.visits} of ${visits} simulations); value ${format.value(one.search)}`),
      html("dt", {}, "exact"), html("dd", {}, `${word(best.score)} for the player to move; ${moves.filter(move => Math.sign(move.score) === Math.sign(best.score)).length} of ${moves.length} moves keep it`)),
    html("details", {}, html("summary", {}, "all that is known of its moves"), html("div", { class: "table" }, html("table", {},
      html("thead", {}, html("tr", {}, ...["move", "network", "simulations", "value", "exact"].map((name, k) => html("th", { scope: "col", class: k ? "number" : null }, name)))),
      html("tbody", {}, ...order.map(move => html("tr", {}, html("td", {}, text(move.action)),
        ...[format.share(move.prior), String(move.visits), move.value === null ? "–" : format.value(move.value), `${word(move.score)} (${move.score})`]
          .map(cell => html("td", { class: "number" }, cell)))))))),
    html("p", { class: "help" }, `from ${one.set.replaceAll("_", " ")}`));
}

const embedded = document.getElementById("data");
if (embedded) showReport(JSON.parse(embedded.textContent));
