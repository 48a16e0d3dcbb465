//! The report of `lockstep serve` in a browser: its curves, its games, its table of matches, and what it may ask for.

use lockstep_browser_tests::{Browser, Server, lockstep, train};
use serde_json::{Value, json};
use std::fs;

/// Returns the curves that go over the x axis of all: the points of the lines that have three or more, what is written
/// below, and what is read out.
const CURVES: &str = "return [...Chart.groups.get('curves')].filter(chart => !chart.container.hidden).map(chart => {
    const svg = chart.plot.firstChild;
    return {
        lines: [...svg.querySelectorAll('polyline')].map(line => line.getAttribute('points')).filter(points => points.split(' ').length > 2),
        ticks: [...svg.querySelectorAll('.tick.middle')].map(tick => tick.textContent),
        spoken: svg.getAttribute('aria-label'),
    };
})";

#[test]
fn the_x_axis_of_all_curves_changes() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", "1");
    let (server, browser) = (Server::start(folder.path(), &["run"]), Browser::open(1280));
    browser.go(&format!("{}report", server.url));
    browser.wait("document.querySelector('.chart svg')");
    let before = browser.script(CURVES);
    browser.click(".axes label:last-of-type span");
    browser.wait("document.querySelector('.axes input[value=positions]').checked");
    let after = browser.script(CURVES);
    let (before, after) = (before.as_array().unwrap(), after.as_array().unwrap());
    assert!(before.len() == after.len() && before.len() > 15, "{} curves, {} curves", before.len(), after.len());
    let mut changed = 0;
    for (one, other) in before.iter().zip(after) {
        let spoken = |of: &Value, axis: &str| of["spoken"].as_str().unwrap().contains(&format!(" at {axis} "));
        assert!(spoken(one, "generation") && spoken(other, "positions"), "{one} {other}");
        assert_ne!(one["ticks"], other["ticks"]);
        for (line, moved) in one["lines"].as_array().unwrap().iter().zip(other["lines"].as_array().unwrap()) {
            assert_ne!(line, moved, "{}", one["spoken"]);
            changed += 1;
        }
    }
    assert!(changed > 15, "{changed} lines");
    browser.is_content(&server);
}

#[test]
fn a_game_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", "1");
    let (server, browser) = (Server::start(folder.path(), &["run"]), Browser::open(1280));
    browser.go(&format!("{}report", server.url));
    browser.wait("document.querySelector('#replay select')");
    // The last one of the list is none that is shown unasked.
    let name = browser.script(
        "const select = document.querySelector('#replay select'); select.value = select.lastElementChild.value;
         select.dispatchEvent(new Event('change')); return select.lastElementChild.value",
    );
    let (round, number) = name.as_str().unwrap().split_once('-').unwrap();
    let [round, number] = [round, number].map(|text| text.parse::<u64>().unwrap());
    let query = json!({"run": 0, "from": round, "to": round, "number": number});
    let game = server.ask("POST", "/api/games", &query)["games"][0]["moves"].clone();
    let moves: Vec<&str> = game.as_str().unwrap().split(' ').collect();
    let session = server.ask("POST", "/api/sessions", &json!({"player": "rollout:tictactoe", "browser": "me"}));
    let position = format!("/api/sessions/{}/position", session["id"].as_str().unwrap());
    let same = |ply: usize| {
        let view = server.ask("POST", &position, &json!({"moves": moves[..ply].join(" ")}))["view"].clone();
        for player in ['x', 'o'] {
            let stones = view["cells"].as_str().unwrap().chars().enumerate().filter(|(_, cell)| *cell == player);
            let stones: Vec<[usize; 2]> = stones.map(|(at, _)| [100 * (at % 3) + 50, 100 * (at / 3) + 50]).collect();
            let drawn = browser.script(&format!(
                "return [...document.querySelectorAll('#replay .stone.{player}')].map(stone => [stone.cx.baseVal.value, stone.cy.baseVal.value])"
            ));
            assert_eq!(drawn, json!(stones), "{player} after {ply} of {moves:?}");
        }
        let status = browser.script("return document.querySelector('#replay .status').textContent");
        let told =
            if ply == 0 { "The start".into() } else { format!("Move {ply} of {}: {} ", moves.len(), moves[ply - 1]) };
        assert!(status.as_str().unwrap().starts_with(&told), "{status}");
    };
    browser.click("#replay button[aria-label='to the start']");
    same(0);
    for ply in 1..=moves.len() {
        browser.click("#replay button[aria-label='one move on']");
        same(ply);
    }
    for ply in (0..moves.len()).rev() {
        browser.click("#replay button[aria-label='one move back']");
        same(ply);
    }
    browser.click("#replay button[aria-label='to the end']");
    same(moves.len());
    browser.is_content(&server);
}

#[test]
fn matches_stand_in_a_table() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed) in [("a", "1"), ("b", "2"), ("c", "3")] {
        train(folder.path(), name, seed);
    }
    lockstep(folder.path(), &["compare", "a", "b", "--pairs", "4", "--simulations", "4"]);
    let (server, browser) = (Server::start(folder.path(), &["a", "b", "c"]), Browser::open(360));
    browser.go(&format!("{}report", server.url));
    browser.wait("document.querySelector('#matches tbody')");
    let cells = browser.script(
        "return [...document.querySelector('#matches tbody').rows].map(row => [...row.cells].map(cell => cell.textContent))",
    );
    let commands = |row: usize, column: usize| cells[row][column].as_str().unwrap().to_string();
    for (row, run) in ["a", "b"].into_iter().enumerate() {
        let lines = fs::read_to_string(folder.path().join(run).join("matches.jsonl")).unwrap();
        let newest: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        let results: Vec<String> = newest["results"].as_array().unwrap().iter().map(Value::to_string).collect();
        let shown = commands(row, 2 - row);
        assert!(shown.contains(&format!("{} won, drawn, lost", results.join(" / "))), "{run}: {shown}");
        let elo = newest["elo"].as_f64().map_or(String::new(), |elo| format!("{:.0} Elo", elo.abs().round()));
        assert!(shown.contains(&elo), "{newest}: {shown}");
    }
    assert_eq!((commands(0, 1), commands(1, 3)), ("–".into(), "lockstep compare b c".into()));
    let wide = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(wide, 0, "the page is wider than its window");
    browser.is_content(&server);
}
