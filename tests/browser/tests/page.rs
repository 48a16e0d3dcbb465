//! The board of `lockstep serve` in a browser: games by clicks and by keys, the tree, and what a page may ask for.

use lockstep_browser_tests::{Browser, Server, train};
use serde_json::{Value, json};

/// Opens the page with a player that has learned nothing.
fn board(server: &Server, browser: &Browser, game: &str, simulations: u32) {
    browser.go(&server.url);
    browser.wait("page.session && page.players");
    choose(browser, "player", &format!("rollout:{game}"));
    browser.wait(&format!("page.session.game === '{game}'"));
    // The slider goes by the logarithm.
    browser.script(&format!(
        "$('simulations').value = 100 * Math.log({simulations}) / Math.log(page.session.most);
         $('simulations').dispatchEvent(new Event('input'))"
    ));
}

fn choose(browser: &Browser, select: &str, value: &str) {
    browser.script(&format!(
        "$('{select}').value = '{value}'; $('{select}').dispatchEvent(new Event('change', {{bubbles: true}}))"
    ));
}

/// Checks that what is drawn is what the server's session has.
fn agrees(server: &Server, browser: &Browser) -> Value {
    let id = browser.script("return page.session.id");
    let session = server.ask("GET", &format!("/api/sessions/{}", id.as_str().unwrap()), &json!({}));
    let cells = session["view"]["cells"].as_str().unwrap();
    let count = |player: char| cells.chars().filter(|&cell| cell == player).count();
    let drawn = |css: &str| browser.script(&format!("return document.querySelectorAll('{css}').length"));
    assert_eq!([drawn("#board .stone.x"), drawn("#board .stone.o")], [json!(count('x')), json!(count('o'))]);
    let names = "return [...document.querySelectorAll('#moves button:not(.later)')].slice(1).map(b => b.textContent.split('. ')[1])";
    assert_eq!(browser.script(names), session["moves"]);
    let targets = "return [...document.querySelectorAll('#board .target')].map(t => Number(t.dataset.cell)).sort((a, b) => a - b)";
    let legal = session["view"]["legal"].as_array().unwrap();
    let mut cells: Vec<u64> = legal.iter().filter_map(|of| of["cells"][0].as_u64()).collect();
    cells.sort_unstable();
    cells.dedup();
    assert_eq!(browser.script(targets), json!(cells));
    session
}

#[test]
fn a_game_by_clicks() {
    let folder = tempfile::tempdir().unwrap();
    let (server, browser) = (Server::start(folder.path(), &[]), Browser::open(1280));
    board(&server, &browser, "connect_four", 20);
    let mut made = 0;
    while agrees(&server, &browser)["view"]["result"].is_null() {
        let targets =
            browser.script("return [...document.querySelectorAll('#board .target')].map(t => t.dataset.cell)");
        let targets = targets.as_array().unwrap();
        let cell = targets[made * 5 % targets.len()].as_str().unwrap();
        browser.click(&format!("#board .target[data-cell='{cell}']"));
        made += 1;
        browser.wait(&format!(
            "page.session.moves.length >= {made} && !page.session.searching && (page.session.view.result !== null || page.session.view.to_move === 0 && page.session.moves.length === {})",
            2 * made
        ));
    }
    let turn = browser.script("return $('turn').textContent");
    assert!(["You win.", "You lose.", "A draw."].contains(&turn.as_str().unwrap()), "{turn}");
    // Whatever was done is undone: a new game, and moves.
    let moves = agrees(&server, &browser)["moves"].clone();
    browser.click("#new");
    browser.wait("page.session.moves.length === 0");
    browser.click("#undo");
    browser.wait(&format!("page.session.moves.length === {}", moves.as_array().unwrap().len()));
    assert_eq!(agrees(&server, &browser)["moves"], moves);
    browser.click("#back");
    browser.wait(&format!("page.session.moves.length < {}", moves.as_array().unwrap().len()));
    assert_eq!(agrees(&server, &browser)["view"]["to_move"], 0);
    browser.is_content(&server);
    assert_eq!(browser.script("return $('report').hidden && $('history').hidden"), true, "there is no run");
}

#[test]
fn a_game_by_keys_on_a_phone() {
    let folder = tempfile::tempdir().unwrap();
    let (server, browser) = (Server::start(folder.path(), &[]), Browser::open(360));
    board(&server, &browser, "tictactoe", 20);
    browser.click("#side input[value='both']");
    browser.keys(&["b"]);
    // b2 is right of and below a3, where the focus begins; then to where there is room.
    browser.keys(&["Right", "Down", "Enter"]);
    browser.wait("page.session.moves.join() === 'b2'");
    while agrees(&server, &browser)["view"]["result"].is_null() {
        let before = browser.script("return page.session.moves.length");
        browser.keys(&["b", "Enter"]);
        browser.wait(&format!("page.session.moves.length > {before}"));
    }
    let moves = agrees(&server, &browser)["moves"].as_array().unwrap().len();
    browser.keys(&["u"]);
    browser.wait(&format!("page.session.moves.length === {}", moves - 1));
    browser.keys(&["z"]);
    browser.wait(&format!("page.session.moves.length === {moves}"));
    browser.keys(&[","]);
    browser.wait(&format!("page.session.moves.length === {}", moves - 1));
    browser.keys(&["."]);
    browser.wait(&format!("page.session.moves.length === {moves}"));
    browser.keys(&["?"]);
    browser.wait("$('help').open");
    let wide = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(wide, 0, "the page is wider than its window");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Returns the rows of the tree as the page shows them: move and visits.
fn rows(browser: &Browser) -> Vec<(String, u64)> {
    let rows = browser.script(
        "return [...$('tree').tBodies[0].rows].map(row => [row.cells[0].textContent, Number(row.cells[1].textContent.replaceAll(',', ''))])",
    );
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (row[0].as_str().unwrap().into(), row[1].as_u64().unwrap())).collect()
}

#[test]
fn the_tree_is_walked_and_shared_by_one_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (server, browser) = (Server::start(folder.path(), &[]), Browser::open(1280));
    board(&server, &browser, "othello6", 500);
    assert_eq!(browser.script("return document.querySelectorAll('#board .advice').length"), 0, "it tells unasked");
    browser.keys(&["a"]);
    browser.wait("page.session.found && !page.session.searching");
    let id = browser.script("return page.session.id");
    let path = format!("/api/sessions/{}/look", id.as_str().unwrap());
    let compare = |walked: &[u64]| {
        let look = server.ask("POST", &path, &json!({"path": walked}));
        let names = |action: &Value| {
            let legal = look["view"]["legal"].as_array().unwrap();
            legal.iter().find(|of| of["action"] == *action).unwrap()["text"].as_str().unwrap().to_string()
        };
        let mut told: Vec<_> = look["moves"]
            .as_array()
            .unwrap()
            .iter()
            .map(|of| (names(&of["action"]), of["visits"].as_u64().unwrap()))
            .collect();
        let mut shown = rows(&browser);
        assert!(shown.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{shown:?}");
        told.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, told);
        assert_eq!(browser.script("return board.view.cells"), look["view"]["cells"]);
    };
    compare(&[]);
    assert!(browser.script("return document.querySelectorAll('#board .advice').length").as_u64().unwrap() > 0);
    let mut walked = vec![];
    browser.keys(&["w"]);
    for _ in 0..2 {
        browser.wait("document.activeElement.dataset.action");
        walked.push(browser.script("return Number(document.activeElement.dataset.action)").as_u64().unwrap());
        browser.keys(&["Enter"]);
        browser.wait(&format!("page.walk && page.walk.path.length === {}", walked.len()));
        compare(&walked);
    }
    browser.keys(&["Backspace"]);
    browser.wait("page.walk.path.length === 1");
    browser.keys(&["Backspace"]);
    browser.wait("!page.walk");
    compare(&[]);

    // Another window of the browser hears by the stream of the first one, which holds the lock.
    browser.another_window();
    board(&server, &browser, "tictactoe", 50);
    let locks = browser.script("return navigator.locks.query().then(all => [all.held.length, all.pending.length])");
    assert_eq!(locks, json!([1, 1]));
    browser.script("window.heard = 0; events.tabs.addEventListener('message', () => { window.heard += 1; })");
    browser.keys(&["m"]);
    browser.wait("heard > 0 && page.session.moves.length >= 1 && !page.session.searching");
    agrees(&server, &browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The history of a position, by keys on a phone: what is drawn is what the server tells, and its games are on the board.
#[test]
fn why_it_plays_that() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", "1");
    let (server, browser) = (Server::start(folder.path(), &["run"]), Browser::open(360));
    browser.go(&server.url);
    browser.wait("page.session && page.players");
    assert_eq!(browser.script("return $('report').hidden || $('history').hidden"), false);
    browser.click("#side input[value='both']");
    browser.script("then(() => setMoves(['b2']))");
    browser.wait("page.session.moves.length === 1");
    browser.keys(&["h"]);
    browser.wait("page.why && !page.asking");
    let id = browser.script("return page.session.id");
    let path = format!("/api/sessions/{}/why", id.as_str().unwrap());
    let told = server.ask("POST", &path, &json!({}));
    assert_eq!(browser.script("return {why: page.why.why, sentences: page.why.sentences}"), told);
    let text = browser.script("return $('why-shown').textContent");
    for sentence in told["sentences"].as_array().unwrap() {
        assert!(text.as_str().unwrap().contains(sentence.as_str().unwrap()), "{text}");
    }
    let (generations, games) =
        (told["why"]["generations"].as_array().unwrap(), told["why"]["games"].as_array().unwrap());
    // A point of each curve for each generation, and a row for each generation, round and game.
    let count = |css: &str| browser.script(&format!("return document.querySelectorAll('#why-shown {css}').length"));
    assert_eq!(count("circle.point"), 4 * generations.len());
    let rounds = told["why"]["rounds"].as_array().unwrap();
    assert_eq!(count("tbody tr"), generations.len() + rounds.len() + games.len());
    let plays =
        "return [...document.querySelector('#why-shown table').tBodies[0].rows].map(row => row.cells[5].textContent)";
    let expected: Vec<&Value> = generations.iter().rev().map(|of| &of["plays"]).collect();
    assert_eq!(browser.script(plays), json!(expected));

    // The newest game, by the keys: it is on the board where it came through the position, and goes on as in the log.
    let newest = &games[games.len() - 1];
    let query = json!({"run": 0, "from": newest["round"], "to": newest["round"], "number": newest["number"]});
    let game = server.ask("POST", "/api/games", &query)["games"][0].clone();
    browser.script("document.querySelector('#why-shown td button').focus()");
    browser.keys(&["Enter"]);
    let moves: Vec<&str> = game["moves"].as_str().unwrap().split(' ').collect();
    browser.wait(&format!("page.line.join(' ') === '{}'", moves.join(" ")));
    let ply = newest["ply"].as_u64().unwrap() as usize;
    assert_eq!(agrees(&server, &browser)["moves"], json!(moves[..ply]));
    browser.keys(&["."]);
    browser.wait(&format!("page.session.moves.length === {}", ply + 1));
    assert_eq!(agrees(&server, &browser)["moves"], json!(moves[..=ply]));
    browser.script("document.querySelectorAll('#why-shown details').forEach(one => { one.open = true; })");
    let wide = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(wide, 0, "the page is wider than its window");
    browser.is_content(&server);
}
