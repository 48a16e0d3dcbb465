//! What a person sees of a run: on terminals of several widths, and without one.

use crate::{lockstep, text};
use std::{collections::BTreeSet, fs, path::Path, process::Output};

/// Trains a run of tic-tac-toe with these settings.
fn train(dir: &Path, set: &[&str], more: &[&str]) -> Output {
    let set = set.iter().flat_map(|set| ["--set", set]);
    lockstep(dir, &[&["train", "--run", "run"], &set.collect::<Vec<_>>()[..], more].concat())
}

/// What is drawn belongs together: nothing is more than what it is a part of. Lines that stay have whole fields and no
/// more columns than the terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_what_fits_and_belongs_together() {
    let dir = tempfile::tempdir().unwrap();
    let set = ["run.generations=12", "run.games=600", "learn.steps={ batches = 180 }", "run.grade_simulations=1"];
    let set: String = set.iter().map(|set| format!(" --set '{set}'")).collect();
    let command = format!("export TERM=xterm; stty cols 80 rows 40; exec '{{lockstep}}' train --run run{set}");
    let shown = crate::on_terminal(dir.path(), &command);
    // Of each line what follows the last thing that moved the cursor.
    let lines: Vec<&str> =
        shown.split(['\r', '\n']).map(|line| line.rsplit_once('\x1b').map_or(line, |(_, l)| l)).collect();
    let lines: Vec<&str> =
        lines.iter().map(|line| line.split_once(['K', 'A', 'B', 'J']).map_or(*line, |(_, l)| l)).collect();
    let ended: Vec<&&str> =
        lines.iter().filter(|line| line.starts_with("generation ") && line.contains("loss")).collect();
    assert_eq!(ended.len(), 12, "{shown}");
    for line in ended {
        assert!(line.chars().count() <= 80 && line.contains("value loss"), "{line}");
    }
    let mut drawn = 0;
    for what in ["games", "steps", "learning"] {
        for line in shown.split(['\r', '\n']) {
            let Some((_, rest)) = line.split_once(&format!("  {what} ")) else { continue };
            let Some((done, all)) = rest.split('[').next().unwrap().trim().split_once('/') else { continue };
            let [done, all] = [done, all].map(|n| n.trim().parse::<u64>().unwrap());
            assert!(done <= all && all == if what == "games" { 600 } else { 180 }, "{line}");
            drawn += 1;
        }
    }
    assert!(drawn > 3, "{shown}");
    // Where gauges begin in their lines.
    let gauges = |what: &str| -> BTreeSet<usize> {
        let begins = |rest: &str| {
            let at = rest.find('[')?;
            rest[..at].chars().all(|c| c.is_ascii_digit() || " /".contains(c)).then_some(what.len() + at)
        };
        shown.split(what).skip(1).filter_map(begins).collect()
    };
    // A fast machine may have neither games nor steps under way when it is drawn.
    let at: BTreeSet<usize> = ["generation ", "  games ", "  steps "].into_iter().flat_map(gauges).collect();
    assert_eq!(at.len(), 1, "{shown}");
    assert!(shown.contains("  loss  policy █") && shown.contains("  play  "), "{shown}");
    let most = std::thread::available_parallelism().unwrap().get() as f64 + 0.5;
    for busy in shown.split("cores busy ").skip(1) {
        let busy: f64 = busy.split(" of").next().unwrap().parse().unwrap();
        assert!(busy < most, "{busy} cores are busy");
    }
    for share in shown.split("proven roots ").skip(1) {
        let share: f64 = share.split(" %").next().unwrap().parse().unwrap();
        assert!(share <= 100.0, "{share} % of the roots are proven");
    }
}

/// What a run has come to stays in a few lines, with the numbers of its files. Narrow terminals break lines between words.
#[cfg(target_os = "linux")]
#[test]
fn a_summary_stays_and_fits() {
    let dir = tempfile::tempdir().unwrap();
    let set = ["run.generations=15", "run.games=40", "search.simulations=4", "run.grade_simulations=1"];
    let output = train(dir.path(), &set, &[]);
    let shown = text(&output.stdout);
    let lines: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("Trained ")).take(6).collect();
    let of = |file: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(dir.path().join("run").join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (metrics, strength) = (of("metrics.jsonl"), of("strength.jsonl"));
    let loss = |line: &serde_json::Value| line["policy_loss"].as_f64().unwrap();
    let graded = |line: &serde_json::Value| {
        let with_one = line["mistakes"].as_array().unwrap().iter().find(|of| of["simulations"] == 1).unwrap().clone();
        with_one["mistakes"].as_u64().unwrap()
    };
    let positions: u64 = metrics.iter().map(|line| line["positions"].as_u64().unwrap()).sum();
    let [first, last] = [&strength[0], &strength[strength.len() - 1]].map(graded);
    assert!(strength.len() > 1, "{shown}");
    for (line, words) in [
        (0, "Trained 15 generations in ".to_string()),
        (0, format!(" of CPU time: 600 games, {positions} positions")),
        (1, format!(" {first} -> {last} mistake")),
        (2, "Losses  policy █".into()),
        (2, format!(" {:.3} -> {:.3}, value ", loss(&metrics[0]), loss(&metrics[14]))),
        (3, "Saved   run/checkpoints/15 and run/report.html".into()),
        (4, "Next    lockstep play --run run".into()),
        (5, "        lockstep serve run".into()),
    ] {
        assert!(lines[line].contains(&words), "'{words}' is missing in line {line} of:\n{shown}");
    }

    let command = "export TERM=xterm; stty cols 20 rows 40; '{lockstep}' train tictactoe --run r --set run.generations=2 \
         --set run.games=20 && '{lockstep}' games && '{lockstep}' runs run && '{lockstep}' doctor --run r";
    let shown = crate::on_terminal(dir.path(), command);
    assert!(shown.contains("generation 2/2  0.") && shown.contains("\nTrained 2\n"), "{shown}");
    for line in shown.lines() {
        assert!(line.chars().count() <= 20 || !line.trim().contains(' '), "'{line}' is too long");
    }
    // What programs read is never broken.
    let line = crate::on_terminal(dir.path(), "stty cols 20 rows 40; '{lockstep}' runs run --json");
    assert_eq!(line.trim(), text(&lockstep(dir.path(), &["runs", "run", "--json"]).stdout).trim());
}

/// Where nothing can be drawn a line tells within a generation that it goes on. What the time means that was given is
/// said once.
#[test]
fn without_a_terminal_a_long_generation_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let output = train(dir.path(), &["run.games=1000000", "search.cache_mb=1"], &["--minutes", "0.05"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = shown.lines().find(|line| line.starts_with("  in generation 1:  games "));
    let line = line.unwrap_or_else(|| panic!("{shown}"));
    for words in ["/1000000", " simulations/s", " evaluations/s", " left of --minutes"] {
        assert!(line.contains(words), "'{words}' is missing in: {line}");
    }
    let told: Vec<&str> = shown.lines().filter(|line| line.contains("It stops in ")).collect();
    assert_eq!(told.len(), 1, "{shown}");
    for words in ["or after 40 generations", "the rehearsal", "learn.schedule", "run.generations"] {
        assert!(told[0].contains(words), "'{words}' is missing in: {}", told[0]);
    }
}

/// All time that passes is in some number that is shown.
#[test]
fn what_went_into_writing_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let set = ["run.generations=30", "run.games=1", "run.checkpoint_every=1", "search.simulations=2"];
    assert!(train(dir.path(), &set, &[]).status.success());
    let lines = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |line: &serde_json::Value, key: &str| line[key].as_f64().unwrap();
    let parts: f64 =
        lines.iter().flat_map(|line| ["play_seconds", "learn_seconds", "write_seconds"].map(|key| of(line, key))).sum();
    let all = of(lines.last().unwrap(), "seconds");
    assert!(lines.iter().all(|line| of(line, "write_seconds") > 0.0));
    assert!((all - parts).abs() < 1e-6, "{all} s, and parts of {parts} s");
}

/// One is not several, and what is kept is not shown as if it changed.
#[test]
fn numbers_and_what_they_count_agree() {
    let dir = tempfile::tempdir().unwrap();
    let set = ["run.generations=1", "run.games=1", "lanes.count=1", "search.simulations=1", "run.grade_simulations=1"];
    let mut shown = text(&train(dir.path(), &set, &["--threads", "1"]).stdout);
    let again = train(dir.path(), &["run.generations=50"], &["--minutes", "0"]);
    shown += &text(&again.stdout);
    for args in [&["doctor", "--run", "run"][..], &["verify", "--run", "run"]] {
        shown += &text(&lockstep(dir.path(), args).stdout);
    }
    for words in ["with 1 thread,", "1 lane,", "1 simulation a move", "Trained 1 generation in"] {
        assert!(shown.contains(words), "'{words}' is missing in:\n{shown}");
    }
    for thing in ["thread", "lane", "generation", "game", "simulation", "position", "core"] {
        for wrong in [format!(" 1 {thing}s"), format!("\n1 {thing}s")] {
            assert!(!shown.contains(&wrong), "'{wrong}' in:\n{shown}");
        }
    }

    let finished = train(dir.path(), &["run.generations=1"], &[]);
    assert!(finished.status.success());
    let kept = text(&train(dir.path(), &["run.generations=1", "search.c_puct=3"], &[]).stderr);
    assert!(kept.contains("keeps its settings: ") && !kept.contains("->"), "{kept}");
}

/// Advice names keys that the search in use has, and is there for what teaches nothing and for networks that are slow.
#[test]
fn advice_fits_the_run() {
    let told = |name: &str, set: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let quick = ["run.generations=1", "search.simulations=4", "run.games=60", "run.grade_simulations=1"];
        let output = train(dir.path(), &[&quick, set].concat(), &[]);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let line =
            text(&output.stdout).lines().find(|line| line.contains(&format!("advice ({name})"))).map(String::from);
        (line.unwrap_or_default(), text(&output.stderr))
    };
    let equal = ["search.policy=gumbel", "search.gumbel_scale=0", "search.opening_plies=0"];
    let (line, _) = told("equal_games", &equal);
    assert!(line.contains("search.gumbel_scale") && !line.contains("temperature"), "{line}");
    let (line, _) = told("equal_games", &["search.temperature=0", "search.noise_share=0", "search.opening_plies=0"]);
    assert!(line.contains("search.temperature") && !line.contains("gumbel"), "{line}");
    let (line, _) = told("nothing_recorded", &["search.fast_simulations=2", "search.full_search_chance=1e-6"]);
    assert!(line.contains("the policy learns nothing") && line.contains("search.full_search_chance"), "{line}");
    // Told before the run, and by the rule.
    let keys = ["network.kind=mlp", "network.channels=8", "network.blocks=1", "learn.precision=bf16"];
    let (line, warning) = told("slow_network", &keys);
    for text in [line, warning] {
        assert!(text.contains("burn trains this network") && text.contains("learn.precision"), "{text}");
        assert!(text.contains("6 to 12 times as slowly"), "{text}");
    }
}
