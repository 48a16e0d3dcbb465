//! The report of a run: whole, small, and closed to whatever stands in a run.

use crate::{attacks, bad_inputs::mutated, lockstep, text};
use lockstep::{
    advice::Advice,
    components::LaneRng,
    folder::Folder,
    insight::{
        met::Met,
        report::{self, MOST_BYTES},
        strength::{Mistakes, Strength},
    },
    metrics::Metrics,
};
use serde_json::Value;
use std::{fs, path::Path};

const QUICK: [&str; 4] = ["run.games=20", "search.simulations=4", "network.channels=8", "run.grade_simulations=4"];

/// Trains tic-tac-toe for so many generations in the folder `name`.
fn train(dir: &Path, name: &str, generations: u64) {
    let generations = format!("run.generations={generations}");
    let set = QUICK.into_iter().chain([&*generations]).flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["train", "--run", name].into_iter().chain(set).collect();
    let output = lockstep(dir, &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Returns the data that stand in a page, which must be closed and small.
fn data_of(page: &str) -> Value {
    assert!(page.len() <= MOST_BYTES, "{} bytes", page.len());
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).expect("a place for the data");
    let (data, rest) = rest.split_once("</script>").expect("an end of the data");
    // Behind the data stand the script and the end of the page, and nothing that the data have let out.
    assert_eq!((rest.matches("<script").count(), rest.matches("</script>").count()), (1, 1));
    assert!(!data.contains('<'));
    for address in ["https:", "src=", "@import", "url("] {
        assert!(!page.replace(data, "").contains(address), "the page loads something: {address}");
    }
    assert_eq!(page.matches("http:").count(), page.matches("http://www.w3.org/2000/svg").count());
    let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").expect("a policy");
    let policy = policy.split_once('"').unwrap().0;
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    serde_json::from_str(data).unwrap()
}

fn metrics(run: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Compares the columns of a page with the lines of the metrics.
fn assert_has_all(run: &Value, lines: &[Value]) {
    let close = |a: &Value, b: &Value| {
        let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
        (a - b).abs() <= 1e-5 * b.abs()
    };
    let names = ["generation", "games", "policy_loss", "value_loss", "mean_length", "draws", "seconds", "resident"];
    for (at, line) in lines.iter().enumerate() {
        for name in names {
            assert!(close(&run["columns"][name][at], &line[name]), "{name} of line {at}: {}", run["columns"][name][at]);
        }
        let stage = |all: &Value| all["stages"]["search"].clone();
        assert!(close(&run["columns"]["stages.search"][at], &stage(line)));
    }
    assert_eq!(run["columns"]["generation"].as_array().unwrap().len(), lines.len());
    let games: u64 = lines.iter().map(|line| line["games"].as_u64().unwrap()).sum();
    assert_eq!(run["columns"]["total.games"].as_array().unwrap().last().unwrap(), games);
}

#[test]
fn a_run_writes_its_report_and_the_command_adds_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", 3);
    let path = dir.path().join("run/report.html");
    let written = data_of(&fs::read_to_string(&path).unwrap());
    let run = &written["runs"][0];
    assert_eq!((&run["state"], &run["generation"]), (&"finished".into(), &3.into()));
    assert_has_all(run, &metrics(&dir.path().join("run")));
    assert!(run["wrong"].is_null() && run["notices"].as_array().unwrap().is_empty(), "{}", run["notices"]);
    assert_eq!(run["verdict"].as_array().unwrap().len(), 2);

    // The games can be replayed: each move changes one cell, and the last position is that of the result.
    let games = run["games"].as_array().unwrap();
    assert!(games.len() >= 8);
    for game in games {
        let mut before = run["start"]["cells"].as_str().unwrap().to_string();
        for ply in game["plies"].as_array().unwrap() {
            let cells = ply["cells"].as_str().unwrap();
            let changed: Vec<usize> = (0..9).filter(|&cell| cells[cell..=cell] != before[cell..=cell]).collect();
            assert_eq!(serde_json::json!(changed), ply["last"]);
            before = cells.into();
        }
    }

    let before: Vec<_> =
        fs::read_dir(dir.path().join("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let output = lockstep(dir.path(), &["report", "run"]);
    assert!(output.status.success() && text(&output.stdout).contains("report.html"), "{}", text(&output.stderr));
    let after: Vec<_> = fs::read_dir(dir.path().join("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before, after);
    let again = data_of(&fs::read_to_string(&path).unwrap());
    let wrong = &again["runs"][0]["wrong"];
    assert_eq!(wrong["positions"], 4520);
    // As many as `grade` finds, and worst first: what gives a whole win away comes before what gives half of one away.
    assert_eq!(wrong["mistakes"], run["verdict"][0]["mistakes"]);
    let given = |one: &Value| {
        let moves = one["moves"].as_array().unwrap();
        let best = moves.iter().map(|one| one["score"].as_i64().unwrap().signum()).max().unwrap();
        let chosen = moves.iter().find(|own| own["action"] == one["chosen"]).unwrap();
        best - chosen["score"].as_i64().unwrap().signum()
    };
    let given: Vec<i64> = wrong["shown"].as_array().unwrap().iter().map(given).collect();
    let worst_first = given[0] == 2 && given.iter().all(|&lost| lost > 0) && given.is_sorted_by(|a, b| a >= b);
    assert!(worst_first, "{given:?}");
}

#[test]
fn what_stands_in_a_run_stays_text() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = "</script><img src=x onerror=alert(1)>{data}{script}<!--";
    let name = "a<img src=x onerror=alert(1)>{data}";
    train(dir.path(), name, 2);
    let folder = dir.path().join(name);
    let mut lines: Vec<Metrics> =
        metrics(&folder).into_iter().map(|line| serde_json::from_value(line).unwrap()).collect();
    lines[1].advice = vec![Advice { rule: "equal_games".into(), text: hostile.into() }];
    lines[1].machine.device = hostile.into();
    let lines: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    fs::write(folder.join("metrics.jsonl"), lines).unwrap();
    let change = serde_json::json!({"generation": 2, "key": hostile, "from": hostile, "to": hostile});
    fs::write(folder.join("history.jsonl"), format!("{change}\n")).unwrap();
    let page = report::page(&[report::data(&folder).unwrap()]);
    let run = &data_of(&page)["runs"][0];
    assert_eq!((&run["name"], &run["advice"][0]["text"]), (&name.into(), &hostile.into()));
    assert_eq!((&run["changes"][0]["to"], &run["machine"]["device"]), (&hostile.into(), &hostile.into()));
    assert!(!page.contains("<img"));
    let health = run["health"]["reasons"][0].as_str().unwrap();
    assert_eq!((&run["health"]["level"], health.contains("onerror")), (&"broken".into(), true));
}

#[test]
fn a_damaged_run_shows_what_it_has_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", 3);
    let run = dir.path().join("run");
    let notices = || report::data(&run).unwrap().notices.join("\n");
    let of = |path: &str| fs::read(run.join(path)).unwrap();
    let whole = of("metrics.jsonl");

    // A line in the middle is damaged: the others are there.
    let damaged = String::from_utf8(whole.clone()).unwrap().replacen("\"generation\":2", "\"generation\":two", 1);
    fs::write(run.join("metrics.jsonl"), damaged).unwrap();
    assert!(notices().contains("line 2 of metrics.jsonl") && notices().contains("1 of the 3"), "{}", notices());
    let page = report::page(&[report::data(&run).unwrap()]);
    assert_eq!(data_of(&page)["runs"][0]["columns"]["generation"], serde_json::json!([1, 3]));
    fs::write(run.join("metrics.jsonl"), &whole).unwrap();
    assert_eq!(notices(), "");

    // The same for the strength, and for a game that is not whole.
    let strength = Strength {
        generation: 2,
        mistakes: vec![Mistakes { simulations: 4, positions: 100, mistakes: 7, interval: [0.034, 0.137] }],
        ..Strength::default()
    };
    let line = serde_json::to_string(&strength).unwrap();
    fs::write(run.join("strength.jsonl"), format!("{line}\n{{\"gener")).unwrap();
    let data = report::data(&run).unwrap();
    assert_eq!(data.strength, [strength]);
    assert!(data.notices[0].contains("line 2 of strength.jsonl"), "{:?}", data.notices);
    let segment = run.join("log/000003.games");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[9] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let data = report::data(&run).unwrap();
    assert!(data.games.is_empty() && data.notices[1].contains("000003.games"), "{:?}", data.notices);
    fs::remove_dir_all(run.join("log")).unwrap();
    let data = report::data(&run).unwrap();
    assert!(data.games.is_empty() && data.round.is_none() && data.start.is_some());
    data_of(&report::page(&[data]));

    // One generation, and none.
    let first = whole.split_inclusive(|&byte| byte == b'\n').next().unwrap();
    for some in [first, &[]] {
        fs::write(run.join("metrics.jsonl"), some).unwrap();
        data_of(&report::page(&[report::data(&run).unwrap()]));
    }
}

/// Whatever stands in the files of a run, there is a page or an error that names a file.
#[test]
fn no_file_of_a_run_ends_the_program() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", 3);
    let run = dir.path().join("run");
    let mistakes = vec![Mistakes { simulations: 4, positions: 100, mistakes: 7, interval: [0.034, 0.137] }];
    let strength = Strength { generation: 2, mistakes, ..Strength::default() };
    fs::write(run.join("strength.jsonl"), serde_json::to_string(&strength).unwrap() + "\n").unwrap();
    let change = "{\"generation\":2,\"key\":\"learn.learning_rate\",\"from\":\"0.002\",\"to\":\"0.001\"}\n";
    fs::write(run.join("history.jsonl"), change).unwrap();
    Met { played: 1, against: "other".into(), pairs: [1, 2, 3, 4, 5], ..Met::default() }
        .save(&Folder::at(&run))
        .unwrap();
    let files = [
        "metrics.jsonl",
        "strength.jsonl",
        "history.jsonl",
        "verdict.jsonl",
        "matches.jsonl",
        "log/000003.games",
        "config.toml",
    ];
    let (mut pages, mut refused) = (0, 0);
    for case in 0..60 * attacks() {
        let mut rng = LaneRng::new(41, case);
        let path = run.join(files[rng.below(files.len())]);
        let sound = fs::read(&path).unwrap();
        fs::write(&path, mutated(&mut rng, &sound)).unwrap();
        match report::data(&run) {
            Ok(data) => {
                data_of(&report::page(&[data]));
                pages += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("config.toml"), "case {case}: {error}");
                refused += 1;
            }
        }
        fs::write(&path, sound).unwrap();
    }
    assert!(pages > 20 && refused > 0, "{pages} pages, {refused} refused");
}

#[test]
fn long_runs_and_many_of_them_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let set = ["run.generations=1", "run.games=20", "network.channels=8", "run.grade_simulations=1"];
    let args =
        ["train", "connect_four", "--run", "run"].into_iter().chain(set.into_iter().flat_map(|set| ["--set", set]));
    let args: Vec<&str> = args.collect();
    let output = lockstep(dir.path(), &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let one: Metrics = serde_json::from_value(metrics(&path).remove(0)).unwrap();
    let make = |generations: u64| -> String {
        (1..=generations)
            .map(|generation| {
                let policy_loss = 2.0 / (generation as f64).sqrt();
                let line = Metrics { generation, policy_loss, ..one.clone() };
                serde_json::to_string(&line).unwrap() + "\n"
            })
            .collect()
    };
    fs::write(path.join("metrics.jsonl"), make(200)).unwrap();
    let run = &data_of(&report::page(&[report::data(&path).unwrap()]))["runs"][0];
    assert_has_all(run, &metrics(&path));
    // Longer ones are thinned out, from the first generation to the last.
    fs::write(path.join("metrics.jsonl"), make(5_000)).unwrap();
    let data = report::data(&path).unwrap();
    let all = data_of(&report::page(&vec![data; report::MOST_RUNS]));
    let generations = all["runs"][7]["columns"]["generation"].as_array().unwrap();
    assert!(generations.len() >= 50 && generations[0] == 1 && *generations.last().unwrap() == 5_000, "{generations:?}");
}

#[test]
fn what_cannot_be_reported_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", 1);
    let refused = |args: &[&str], word: &str| {
        let output = lockstep(dir.path(), args);
        let message = text(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(word), "{args:?}: {message}");
    };
    refused(&["report"], "<RUN>");
    refused(&["report", "nothing"], "there is no run here");
    refused(&["report", "run", "--positions", "none.csv"], "none.csv");
    refused(&["report", "run", "--out", "no/folder/x.html"], "--out");
    fs::create_dir(dir.path().join("taken")).unwrap();
    refused(&["report", "run", "--out", "taken"], "taken");
    refused(&[&["report"], &["run"; 9][..]].concat(), "RUN");
    // Several runs go into the current folder, and are told apart.
    let output = lockstep(dir.path(), &["report", "run", "./run"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all = data_of(&fs::read_to_string(dir.path().join("report.html")).unwrap());
    assert_eq!((&all["runs"][0]["name"], &all["runs"][1]["name"]), (&"run".into(), &"run (2)".into()));
}

/// A folder that takes no report costs the run nothing but a warning.
#[test]
fn a_report_that_cannot_be_written_does_not_stop_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let report = Folder::at(&dir.path().join("run")).report();
    fs::create_dir_all(&report).unwrap();
    let set = QUICK.into_iter().chain(["run.generations=2"]).flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["train", "tictactoe", "--run", "run"].into_iter().chain(set).collect();
    let output = lockstep(dir.path(), &args);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!((told.matches("warning:").count(), told.contains("report.html")), (1, true), "{told}");
    assert_eq!(metrics(&dir.path().join("run")).len(), 2);
}
