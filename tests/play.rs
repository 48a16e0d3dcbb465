//! `lockstep play`, and what it tells of the rules.

use crate::{lockstep, text};
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Makes a run in `run` that has learned next to nothing, and returns what was printed.
fn trained(dir: &Path, recipe: &str, more: &[&str]) -> String {
    let mut args = vec!["train", recipe, "--run", "run"];
    let small =
        ["run.generations=1", "run.games=2", "run.grade_simulations=1", "search.simulations=2", "lanes.count=2"];
    let tiny = ["search.fast_simulations=0", "network.channels=4", "network.blocks=1", "learn.batch_size=16"];
    for set in small.iter().chain(&tiny).chain(more) {
        args.extend(["--set", set]);
    }
    let output = lockstep(dir, &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn play(dir: &Path, player: &str, simulations: &str, input: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .current_dir(dir)
        .args(["play", "--run", player, "--simulations", simulations])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_string();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    text(&output.stdout)
}

#[test]
fn komi_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let shown = trained(dir.path(), "go5", &["game.komi=7.5"]);
    assert!(shown.contains("Learning Go 5x5 with komi 7.5 in run"), "{shown}");
    let games = std::fs::read_to_string(dir.path().join("run/games/000001.txt")).unwrap();
    assert!(games.starts_with("# Go 5x5 with komi 7.5, generation 1"), "{games}");
    // Who passes on an empty board loses by a pass.
    let shown = play(dir.path(), "run", "100", "pass\nquit\n");
    for words in [
        "Go 5x5 with komi 7.5 against",
        "It passes and expects",
        "You lose by 7.5, komi 7.5 of the second player included.",
    ] {
        assert!(shown.contains(words), "'{words}' is missing in: {shown}");
    }
    let games = text(&lockstep(dir.path(), &["games"]).stdout);
    let of = |name: &str| games.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().last().unwrap();
    assert_eq!([of("name"), of("go5"), of("othello6")], ["komi", "24.5", "-"]);
    assert!(text(&lockstep(dir.path(), &["games", "--json"]).stdout).contains("\"komi\":24.5"));
}

#[test]
fn who_has_to_pass_is_told() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), "othello6", &[]);
    // A network of zeros, whose games are the same on every machine.
    let mut weights = std::fs::read(dir.path().join("run/checkpoints/1/weights.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    weights[header..].fill(0);
    std::fs::write(dir.path().join("zeros"), weights).unwrap();
    // Two games. Every cell is tried, over and over: what is legal is played.
    let mut cells: Vec<String> =
        (b'a'..=b'f').flat_map(|c| (1..=6).map(move |r| format!("{}{r}", c as char))).collect();
    cells.reverse();
    let all = |cells: &[String]| format!("{}\npass\n", cells.join("\n")).repeat(18);
    let first = all(&cells);
    cells.rotate_left(17);
    let shown = play(dir.path(), "zeros", "1", &format!("{first}new\n{}", all(&cells)));
    for words in ["You have no move but to pass. Type: pass", "It has no move but to pass and expects"] {
        assert!(shown.contains(words), "'{words}' is missing in: {shown}");
    }
    assert!(!shown.contains("It plays pass"), "{shown}");
}
