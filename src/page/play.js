// The page of `lockstep serve`: a session of the server, shown and played with. All that is shown is what the server
// says; what comes from runs is written as text and never as HTML.

const $ = id => document.getElementById(id);

// What this browser keeps from visit to visit, where it lets a page keep anything.
const kept = {
  get(name, otherwise) { try { return localStorage.getItem("lockstep-" + name) ?? otherwise; } catch { return otherwise; } },
  set(name, value) { try { localStorage.setItem("lockstep-" + name, value); } catch { /* It is asked again then. */ } },
};

class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

async function send(path, body, method = body === undefined ? "GET" : "POST") {
  let response;
  try {
    response = await fetch(path, { method, body: body && JSON.stringify(body), headers: body && { "content-type": "application/json" } });
  } catch {
    throw new Refused(0, "The server does not answer. Is lockstep serve still running?");
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Refused(response.status, answer.error || `The server has refused this (${response.status}).`);
  }
  return response;
}

const ask = async (path, body, method) => (await send("/api/" + path, body, method)).json();

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// One stream of events for the browser: the tab that holds the lock listens, and passes on what it hears. A hidden page
// neither listens nor keeps the lock.
class Events {
  constructor(hear) {
    this.hear = hear;
    let name = kept.get("browser", "");
    if (!/^[a-z0-9]{1,64}$/.test(name)) {
      name = Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");
      kept.set("browser", name);
    }
    this.browser = name;
    this.tabs = new BroadcastChannel("lockstep");
    this.tabs.onmessage = ({ data }) => hear(data);
    document.addEventListener("visibilitychange", () => document.hidden ? this.end() : this.begin());
  }

  begin() {
    this.end();
    const ended = this.ended = new AbortController();
    // Pages without a secure address have no locks: each of their tabs listens while it is seen.
    if (!navigator.locks) return this.listen(ended.signal);
    const held = () => new Promise(release => {
      ended.signal.addEventListener("abort", release);
      this.listen(ended.signal);
    });
    navigator.locks.request("lockstep", { signal: ended.signal }, held).catch(() => {});
    this.hear({ opened: true });
  }

  end() { this.ended?.abort(); }

  listen(signal) {
    if (signal.aborted) return;
    const source = new EventSource("/events/" + this.browser);
    const pass = event => { this.hear(event); this.tabs.postMessage(event); };
    source.onopen = () => pass({ opened: true });
    source.onmessage = ({ data }) => pass(JSON.parse(data));
    signal.addEventListener("abort", () => source.close());
  }
}

const page = {
  session: null,
  players: null,
  // The name of the player as it was chosen.
  player: null,
  // All moves of the list, of which those of the session are the first ones.
  line: [],
  // Lines of moves to go back and forward to.
  before: [],
  after: [],
  // The games that were left for another one, by their names.
  left: new Map(),
  // What is looked at ahead of the game: the path, the position and its moves.
  walk: null,
  // What searches have found, by the moves of the position.
  found: new Map(),
  query: null,
  // Whose turn it is, in words.
  turn: "",
  // Whether the history of a position is looked up, and the last one that was.
  asking: false,
  why: null,
};

const board = new Board($("board"), { onMove: choose });
const events = new Events(hear);

const key = () => page.session.moves.join(" ");
const side = () => document.querySelector("input[name=side]:checked").value;
const signed = value => {
  const digits = Math.abs(value).toFixed(2);
  return (digits === "0.00" ? "" : value < 0 ? "−" : "+") + digits;
};
const percent = share => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const result = value => value > 0 ? "won" : value < 0 ? "lost" : "draw";

function simulations() {
  const most = page.session ? page.session.most : 10000;
  return Math.max(1, Math.round(Math.exp(Math.log(most) * $("simulations").value / 100)));
}

// ---- The session

// Runs one change of the page after another, and tells what goes wrong.
let queue = Promise.resolve();
function then(work) {
  queue = queue.then(work).then(() => trouble("")).catch(error => {
    if (!(error instanceof Refused)) console.error(error);
    trouble(error.message);
    draw();
  });
  return queue;
}

async function begin(player, moves) {
  const old = page.session;
  page.session = await ask("sessions", { player, browser: events.browser, moves: moves.join(" ") });
  page.player = page.session.player;
  page.walk = null;
  if (old) {
    if (old.player !== page.session.player) page.found.clear();
    ask(`sessions/${old.id}`, undefined, "DELETE").catch(() => {});
  }
  follow();
}

// Goes on with another player: the same game, if the player knows these moves, and another one where it was left.
async function change(player) {
  const { game, moves } = page.session, { line, before, after, players } = page;
  const other = player.startsWith("rollout:") ? player.slice(8)
    : (player === "weights" ? players.weights : players.runs[Number.parseInt(player, 10)]).game;
  if (other === game) await begin(player, moves).catch(() => begin(player, []));
  else {
    const left = page.left.get(other) || { moves: [], line: [], before: [], after: [] };
    await begin(player, left.moves);
    page.left.set(game, { moves, line, before, after });
    Object.assign(page, { line: left.line, before: left.before, after: left.after });
    follow();
  }
  $("player").value = page.player;
  await think();
}

// Asks something of the session, and begins it anew where the server has closed it.
async function order(what, body) {
  try {
    return await ask(`sessions/${page.session.id}/${what}`, body);
  } catch (error) {
    if (error.status !== 404) throw error;
    await begin(page.session.player, page.session.moves);
    return ask(`sessions/${page.session.id}/${what}`, body);
  }
}

// Shows what the server says of the session. A change of the position can be undone, unless it is itself an undoing.
function take(session, undoing = false) {
  const old = page.session;
  // What was on its way for longer than a later answer says nothing new.
  if (old.id === session.id && session.serial < old.serial) return;
  if (!undoing && old.moves.join(" ") !== session.moves.join(" ")) {
    page.before.push({ moves: old.moves, line: page.line });
    page.after = [];
  }
  page.session = session;
  if (session.found) page.found.set(session.found.after, session.found);
  if (page.found.size > 500) page.found.delete(page.found.keys().next().value);
  follow();
}

// Keeps the list of moves where it goes on from the position.
function follow() {
  const { moves } = page.session;
  if (!moves.every((move, ply) => page.line[ply] === move)) page.line = moves.slice();
  draw();
}

async function setMoves(moves, undoing = false) {
  page.walk = null;
  take(await order("position", { moves: moves.join(" ") }), undoing);
  await think();
}

function choose(action) {
  const { searching, view } = page.session;
  if (page.walk) walkInto(action);
  // While it thinks about its move, nobody plays for it.
  else if (searching && side() !== "both" && view.to_move !== Number(side())) tell("It thinks: stop it, or wait for its move.");
  else playAction(action);
}

const playAction = action => then(async () => {
  const move = page.session.view.legal.find(move => move.action === action);
  page.walk = null;
  take(await order("play", { move: move.text }));
  await answerIfDue();
});

// Lets the opponent move if it is its turn.
async function answerIfDue() {
  const { view, searching } = page.session;
  if (view.result === null && !searching && side() !== "both" && view.to_move !== Number(side())) await letMove();
  else await think();
}

async function letMove() {
  if (page.session.view.result !== null || page.session.searching) return;
  page.walk = null;
  take(await order("search", { simulations: simulations(), play: true }));
}

async function analyse() {
  if (page.session.view.result !== null || page.session.searching) return;
  page.walk = null;
  showThoughts(true);
  take(await order("search", { simulations: simulations(), more: true }));
}

// Asks the network about the position where its answer is to be shown.
async function think() {
  const { view, searching, network } = page.session;
  if ($("show").checked && view.result === null && !searching && !network) take(await order("evaluate", {}));
}

function back() {
  const { turns, moves, view } = page.session;
  const mine = side();
  let ply = moves.length - 1;
  // Back to the last position in which it was your turn, leaving out the present one.
  while (mine !== "both" && ply > 0 && turns[ply] !== Number(mine)) ply -= 1;
  if (ply >= 0) return setMoves(moves.slice(0, ply));
}

async function restore(from, to) {
  const state = from.pop();
  if (!state) return;
  to.push({ moves: page.session.moves, line: page.line });
  page.line = state.line;
  await setMoves(state.moves, true);
}

// ---- What is heard

function hear(event) {
  const { session } = page;
  if (event.opened && session) {
    then(async () => {
      take(await ask(`sessions/${page.session.id}`).catch(error => {
        if (error.status === 404) return begin(page.session.player, page.session.moves).then(() => page.session);
        throw error;
      }));
    });
  }
  if (event.runs) then(list);
  if (!session || event.session !== session.id) return;
  if (event.asking && page.asking) $("why-text").textContent = `Asking ${event.asking} …`;
  if (event.found) {
    page.found.set(event.found.after, event.found);
    draw();
  }
  if (event.state) {
    const moves = session.moves.length;
    take(event.state);
    if (event.error) trouble(event.error);
    const played = event.state.moves.slice(moves);
    if (played.length === 1) {
      tell(`It plays ${played[0]}. ${page.turn}`);
      // The same player may be to move again.
      then(answerIfDue);
    } else then(think);
  }
}

function tell(text) { $("live").textContent = text; }

// ---- The tree

function walkInto(action) {
  return then(async () => {
    const path = [...(page.walk ? page.walk.path : []), action];
    page.walk = await order("look", { path });
    draw();
    focusTree();
  });
}

function walkOut() {
  return then(async () => {
    if (!page.walk) return;
    const left = page.walk.path[page.walk.path.length - 1], path = page.walk.path.slice(0, -1);
    page.walk = path.length ? await order("look", { path }) : null;
    draw();
    focusTree(left);
  });
}

function focusTree(action) {
  const rows = [...$("tree").tBodies[0].rows];
  (rows.find(row => Number(row.dataset.action) === action) || rows[0] || $("out")).focus();
}

// What is known of the moves of a position: those of the search, or else those of the network.
function movesOf() {
  const { session, walk } = page;
  if (walk) return walk.moves;
  const found = page.found.get(key());
  if (found) return found.moves;
  return session.network && session.network.policy.map(({ action, share }) => ({ action, prior: share, visits: 0, value: null, proven: null }));
}

function marksOf(moves) {
  const visits = moves.reduce((sum, move) => sum + move.visits, 0);
  const searched = $("marks").value === "search" && visits > 0;
  const share = move => searched ? move.visits / visits : move.prior;
  const shown = moves.filter(move => share(move) > 0).sort((a, b) => share(b) - share(a));
  // Arrows leave less room for numbers.
  const most = page.session.view.legal.some(move => move.cells.length > 1) ? 5 : 12;
  return shown.map((move, rank) => ({
    action: move.action, share: share(move),
    text: rank >= most || share(move) < 0.005 ? "" : !searched ? percent(move.prior).replace(" ", "") : move.proven !== null ? result(move.proven) : signed(move.value).replace("0.", "."),
  }));
}

// ---- Drawing

function draw() {
  const { session, walk } = page;
  if (!session) return;
  const view = walk ? walk.view : session.view;
  const showing = $("show").checked;
  const moves = showing ? movesOf() : null;
  $("title").textContent = session.title;
  document.title = `${session.title} – lockstep`;
  board.show(view, moves ? marksOf(moves) : []);
  $("board").classList.toggle("ahead", !!walk);
  drawTurn(view);
  const over = session.view.result !== null;
  $("move").disabled = $("analyse").disabled = $("why").disabled = over || session.searching || page.asking;
  $("stop").disabled = !session.searching;
  $("back").disabled = $("new").disabled = !session.moves.length;
  $("undo").disabled = !page.before.length;
  $("redo").disabled = !page.after.length;
  $("thoughts").hidden = !showing;
  $("simulations-text").textContent = simulations().toLocaleString("en");
  drawFound(showing);
  drawTree(view, moves);
  drawMoves();
  drawHistory();
}

function drawTurn(view) {
  const turn = $("turn"), stone = document.createElement("span");
  const who = mover => side() === "both" ? ["First player", "Second player"][mover] : mover === Number(side()) ? "You" : "It";
  let text;
  if (view.result !== null) {
    const winner = view.result > 0 ? 0 : 1;
    text = view.result === 0 ? "A draw." : side() === "both" ? `${who(winner)} wins.` : winner === Number(side()) ? "You win." : "You lose.";
    if (view.score) text = text.replace(".", ` by ${Math.abs(view.score)}.`);
  } else if (page.walk) text = `Looking ahead: ${page.walk.texts.length} ${page.walk.texts.length > 1 ? "moves" : "move"} beyond the game.`;
  else if (page.session.searching) text = side() === "both" || view.to_move === Number(side()) ? "It analyses …" : "It thinks …";
  else text = side() === "both" ? `${who(view.to_move)} to move.` : view.to_move === Number(side()) ? "Your move." : "Its move.";
  page.turn = text;
  stone.className = "stone" + (view.to_move && view.result === null || view.result < 0 ? " second" : "");
  stone.setAttribute("aria-hidden", "true");
  turn.replaceChildren(...(view.result === 0 ? [] : [stone]), text);
  const pass = view.result === null && !page.walk && !page.session.searching && view.legal.find(move => !move.cells.length);
  if (pass) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = pass.text === "pass" ? "Pass" : pass.text;
    button.addEventListener("click", () => playAction(pass.action));
    turn.append(button);
  }
}

function drawFound(showing) {
  const { session } = page, found = page.found.get(key());
  const value = found ? found.value : session.network && session.network.value;
  const known = showing && value !== null && value !== undefined && session.view.result === null;
  $("balance").hidden = $("balance-text").hidden = !known;
  if (known) {
    const first = session.view.to_move ? -value : value;
    $("balance").firstElementChild.style.width = `${50 + 50 * first}%`;
    $("balance-text").textContent = `Value for the first player: ${signed(first)}, from −1 (lost) to +1 (won)`;
  }
  let text = session.view.result !== null ? "The game is over." : "Nothing was searched here yet.";
  if (found) {
    const kept = found.reused ? `, ${found.reused.toLocaleString("en")} of them kept from before` : "";
    const ended = { proven: ", proven", full: ", the tree is full", stopped: ", stopped", limit: "", not_yet: " so far" }[found.ended];
    text = `${found.simulations.toLocaleString("en")} simulations${kept}${ended}. For the player to move ${found.proven !== null ? result(found.proven) : signed(found.value)}: ${found.line.slice(0, 12).join(" ")}`;
  } else if (session.network) text = `The network alone: ${signed(session.network.value)} for the player to move. ${text}`;
  $("found").textContent = text;
}

function drawTree(view, moves) {
  $("path").hidden = !page.walk;
  if (page.walk) $("path-text").textContent = "Beyond the game: " + page.walk.texts.join(" ");
  const body = $("tree").tBodies[0];
  const had = body.contains(document.activeElement) && document.activeElement.dataset.action;
  const names = new Map(view.legal.map(move => [move.action, move.text]));
  const sorted = (moves || []).slice().sort((a, b) => b.visits - a.visits || b.prior - a.prior);
  const rows = sorted.map((move, rank) => {
    const row = document.createElement("tr");
    const cell = (text, kind) => { const made = row.insertCell(); made.textContent = text; made.className = kind; };
    cell(names.get(move.action) ?? move.action, "");
    cell(move.visits.toLocaleString("en"), "number");
    cell(percent(move.prior), "number");
    const proven = move.proven !== null ? result(move.proven) : "";
    cell(proven || (move.value === null ? "–" : signed(move.value)), `number ${proven}`);
    row.dataset.action = move.action;
    row.tabIndex = String(move.action) === had || had === false && rank === 0 || !had && rank === 0 ? 0 : -1;
    row.className = rank === 0 ? "first" : "";
    return row;
  });
  body.replaceChildren(...rows);
  if (page.walk && !moves) body.insertRow().insertCell().textContent = "The tree does not reach here.";
  if (had !== false) rows.find(row => row.dataset.action === had)?.focus();
}

function drawMoves() {
  const now = page.session.moves.length;
  const items = ["start", ...page.line].map((move, ply) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = ply ? `${ply}. ${move}` : move;
    button.className = ply > now ? "later" : "";
    if (ply === now) button.setAttribute("aria-current", "step");
    button.addEventListener("click", () => goTo(ply));
    item.append(button);
    return item;
  });
  const had = [...$("moves").children].findIndex(item => item.contains(document.activeElement));
  $("moves").replaceChildren(...items);
  if (had >= 0) items[Math.min(had, items.length - 1)].firstChild.focus();
  const current = items[now];
  if (current) $("moves").scrollTop = current.offsetTop - $("moves").offsetTop - 40;
}

const goTo = ply => ply >= 0 && ply <= page.line.length && then(() => setMoves(page.line.slice(0, ply)));

function showThoughts(on) {
  $("show").checked = on;
  then(async () => { await think(); draw(); });
}

// ---- Why it plays that

const ofRun = () => /^\d/.test(page.session.player);

// Looks up the history of the position, which any change of the position ends.
async function lookUp() {
  if (!ofRun() || $("why").disabled) return;
  page.asking = true;
  $("why-text").textContent = "Asking …";
  draw();
  try {
    const { player } = page.session, found = await order("why", { about: $("about").value || null });
    if (found) page.why = { player, ...found };
    $("why-text").textContent = found ? "" : "Stopped.";
    trouble("");
  } catch (error) {
    $("why-text").textContent = "";
    trouble(error.message);
  }
  page.asking = false;
  draw();
}

function drawHistory() {
  const { session, why } = page;
  $("history").hidden = !ofRun();
  $("why-stop").disabled = !page.asking;
  const about = $("about"), legal = session.view.legal.map(move => move.text), signature = JSON.stringify([key(), legal]);
  if (about.dataset.of !== signature) {
    about.dataset.of = signature;
    about.replaceChildren(html("option", { value: "" }, "what the newest generation plays"), ...legal.map(text => html("option", { value: text }, text)));
  }
  const ours = why && Number.parseInt(why.player, 10) === Number.parseInt(session.player, 10);
  const shown = $("why-shown");
  shown.hidden = !ours;
  if (!ours || shown.why === why) return;
  shown.why = why;
  const { moves, to_move, about: move, generations, rounds, games } = why.why;
  const table = (caption, names, rows) => html("div", { class: "scroll" }, html("table", {}, html("caption", {}, caption),
    html("thead", {}, html("tr", {}, ...names.map((name, k) => html("th", { scope: "col", class: k ? "number" : null }, name)))),
    html("tbody", {}, ...rows.map(cells => html("tr", {}, ...cells.map((cell, k) => html("td", { class: k ? "number" : null }, cell)))))));
  const curves = [["Share of " + move, { format: format.share, least: 0, most: 1 }, one => one.network, one => one.search, `How much of the network's policy and of the search's visits ${move} has, in each kept generation.`],
    ["Value", { format: signed, least: -1, most: 1 }, one => one.network_value, one => one.value, "What network and search expect for the player to move: +1 is a win, −1 a loss."]];
  const charts = generations.length ? curves.map(() => html("div")) : [];
  shown.replaceChildren(
    html("p", {}, html("b", {}, `${moves.length ? `After ${moves.join(" ")}` : "The start of the game"}, the ${to_move} player to move:`)),
    ...why.sentences.map(sentence => html("p", {}, sentence)), ...charts,
    ...(generations.length ? [html("details", {}, html("summary", {}, "All generations"), table("What each says of the position",
      ["generation", "network", "value", "search", "value", "plays"], generations.slice().reverse().map(one => [String(one.generation),
        format.share(one.network), signed(one.network_value), format.share(one.search), one.proven ? result(one.value) : signed(one.value), one.plays])))] : []),
    ...(rounds.length ? [html("details", {}, html("summary", {}, "All rounds with games through it"), table("Results for the player to move, mean value of the searches and share of the policy targets",
      ["round", "games", "won", "draw", "lost", "played", "value", "target"], rounds.slice().reverse().map(one => [String(one.round), String(one.games), ...one.results.map(String),
        one.searched ? format.share(one.played / one.searched) : "–", one.searched ? signed(one.value_sum / one.searched) : "–", one.targets ? format.share(one.target_sum / one.targets) : "–"])))] : []),
    ...(games.length ? [table(`The newest games through it: ${games.length}${games.some(game => game.value === null) ? " (random: a move that was drawn to open the game)" : ""}`, ["game", "played", "result", "value", "target"], games.slice().reverse().map(game => [
      html("button", { type: "button", title: "put this game on the board", click: () => replay(game) }, `${game.round}.${game.number}`), game.played, result(game.result),
      game.value === null ? "random" : signed(game.value), game.target === null ? "–" : format.share(game.target)]))] : []));
  charts.forEach((box, k) => {
    const [title, y, network, search, help] = curves[k];
    const points = of => generations.map(one => [one.generation, of(one)]);
    new Chart(box, { title, help }).show({
      series: [{ name: "network", colour: 0, points: points(network) }, { name: "search", colour: 1, dash: 1, points: points(search) }],
      x: { label: "generation", format: format.whole, whole: true }, y,
    });
  });
}

// Puts a game that came through the position on the board, where it did: the list of moves goes on through it.
const replay = ({ round, number, ply }) => then(async () => {
  const { games: [game] } = await ask("games", { run: Number.parseInt(page.session.player, 10), from: round, to: round, number });
  if (!game) throw new Refused(0, "This game is no more in the log of the run.");
  const moves = game.moves.split(" ");
  await setMoves(moves.slice(0, ply));
  page.line = moves;
  draw();
  tell(`Game ${round}.${number} (${game.result}), after ${ply} of ${moves.length} moves. The keys , and . go back and on in it.`);
});

// ---- Players

async function list() {
  page.players = await ask("players");
  const { runs, weights, games } = page.players;
  const select = $("player"), chosen = page.player;
  const option = (group, value, text) => { const made = document.createElement("option"); made.value = value; made.textContent = text; group.append(made); };
  const group = label => { const made = document.createElement("optgroup"); made.label = label; return made; };
  const groups = [];
  if (weights) { groups.push(group("File")); option(groups[0], "weights", `${weights.name} (${weights.title})`); }
  runs.forEach((run, number) => {
    const of = group(`${run.name} (${run.title})`);
    run.checkpoints.slice().reverse().forEach((generation, age) =>
      option(of, `${number}@${generation}`, `${run.name}, generation ${generation}${age ? "" : " (newest)"}`));
    if (of.children.length) groups.push(of);
  });
  const untrained = group("Random games, nothing learned");
  games.forEach(game => option(untrained, `rollout:${game.name}`, game.title));
  groups.push(untrained);
  select.replaceChildren(...groups);
  if (chosen && [...select.options].some(option => option.value === chosen)) select.value = chosen;
  else if (page.session) select.value = page.session.player;
  $("archive").hidden = $("report").hidden = !runs.length;
  return select.value;
}

const ownRun = () => {
  const number = Number.parseInt(page.player, 10);
  const same = run => page.players.runs.findIndex(other => other.game === run);
  return Number.isInteger(number) ? number : same(page.session.game);
};

// ---- The games of the run

function asked() {
  const number = id => $(id).value === "" ? undefined : Math.max(0, Math.floor(Number($(id).value)));
  return {
    run: Math.max(0, ownRun()), moves: $("q-moves").value, result: $("q-result").value || undefined,
    shortest: number("q-shortest"), longest: number("q-longest"), from: number("q-from"), to: number("q-to"),
  };
}

async function findGames(next) {
  if (!next) { page.query = asked(); $("games").replaceChildren(); }
  $("games-text").textContent = "Searching …";
  const answer = await ask("games", { ...page.query, next }).catch(error => { $("games-text").textContent = ""; throw error; });
  answer.games.forEach(game => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = `${game.round}.${game.number}  ${game.result}  ${game.length} moves: ${game.moves}`;
    button.addEventListener("click", () => then(async () => {
      const run = page.players.runs[page.query.run];
      if (page.session.game !== run.game) await change(`${page.query.run}`);
      await setMoves(game.moves.split(" "));
    }));
    item.append(button);
    $("games").append(item);
  });
  const found = $("games").children.length;
  $("games-text").textContent = `${found} ${found === 1 ? "game" : "games"}${answer.next ? ", and there may be more" : ""}: round and number, result of the first player, moves.`;
  $("more").hidden = !answer.next;
  page.next = answer.next;
}

async function save(file) {
  const response = await send("/api/games", { ...asked(), file });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = `games.${file}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- Buttons and keys

const on = (id, work, kind = "click") => $(id).addEventListener(kind, event => { event.preventDefault(); work(event); });
const acts = {
  move: () => then(letMove),
  back: () => then(back),
  new: () => then(async () => { await setMoves([]); await answerIfDue(); }),
  undo: () => then(() => restore(page.before, page.after)),
  redo: () => then(() => restore(page.after, page.before)),
  analyse: () => then(analyse),
  why: lookUp,
  stop: () => ask(`sessions/${page.session.id}/stop`, {}).catch(error => trouble(error.message)),
  out: walkOut,
  leave: () => { page.walk = null; draw(); },
  go: () => then(() => setMoves([...page.session.moves, ...page.walk.texts])),
};
Object.entries(acts).forEach(([id, work]) => on(id, work));
on("position", () => then(async () => {
  page.walk = null;
  take(await order("position", { moves: $("text").value }));
  await think();
}), "submit");
on("copy", () => { $("text").value = key(); $("text").select(); });
on("query", () => then(() => findGames()), "submit");
on("more", () => then(() => findGames(page.next)));
on("save-txt", () => then(() => save("txt")));
on("save-csv", () => then(() => save("csv")));
on("why-stop", acts.stop);
on("ask", () => $("help").showModal());
$("show").addEventListener("change", () => showThoughts($("show").checked));
$("marks").addEventListener("change", draw);
$("side").addEventListener("change", () => { draw(); then(answerIfDue); });
$("simulations").addEventListener("input", draw);
$("player").addEventListener("change", () => then(async () => {
  const { value } = $("player");
  // If it fails, the player stays who it was.
  $("player").value = page.player;
  await change(value);
  tell(page.session.title);
}));

$("tree").addEventListener("click", ({ target }) => {
  const row = target.closest("tr[data-action]");
  if (row) walkInto(Number(row.dataset.action));
});
$("tree").addEventListener("keydown", event => {
  const row = event.target.closest("tr[data-action]");
  const beside = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
  if (event.key === "Enter" && row) walkInto(Number(row.dataset.action));
  else if (beside) {
    row.tabIndex = -1;
    beside.tabIndex = 0;
    beside.focus();
  } else return;
  event.preventDefault();
});
$("thoughts").addEventListener("keydown", event => {
  if (event.key === "Backspace" && page.walk && !/^(INPUT|SELECT)$/.test(event.target.tagName)) {
    event.preventDefault();
    walkOut();
  }
});

const letters = {
  b: () => $("board").querySelector(".target[tabindex='0']")?.focus(),
  m: acts.move, u: acts.back, n: acts.new, z: acts.undo, y: acts.redo, a: acts.analyse, s: acts.stop, h: acts.why,
  t: () => showThoughts(!$("show").checked),
  w: () => { showThoughts(true); then(() => focusTree()); },
  ",": () => goTo(page.session.moves.length - 1),
  ".": () => goTo(page.session.moves.length + 1),
  "?": () => $("help").showModal(),
};
document.addEventListener("keydown", event => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && !/^(checkbox|radio|range)$/.test(event.target.type);
  if (event.ctrlKey || event.metaKey || event.altKey || typing || $("help").open || !$("keys").checked || !page.session) return;
  const act = letters[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
$("keys").checked = kept.get("keys", "on") === "on";
$("keys").addEventListener("change", () => kept.set("keys", $("keys").checked ? "on" : "off"));

const themes = ["system", "light", "dark"];
function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
  kept.set("theme", name);
}
on("theme", () => theme(themes[(themes.indexOf(kept.get("theme", "system")) + 1) % 3]));
theme(themes.includes(kept.get("theme", "system")) ? kept.get("theme", "system") : "system");

// A search whose end was not heard of is asked about.
setInterval(() => {
  if (!document.hidden && page.session?.searching) ask(`sessions/${page.session.id}`).then(state => state.searching || hear({ session: state.id, state })).catch(() => {});
}, 3000);
window.addEventListener("pagehide", () => {
  if (page.session) fetch(`/api/sessions/${page.session.id}`, { method: "DELETE", keepalive: true });
});

then(async () => {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    await ask("token", { token });
    history.replaceState(null, "", location.pathname);
  }
  const player = await list();
  await begin(player, []);
  $("player").value = player;
  if (!document.hidden) events.begin();
});
