//! The command line of a program with a game of its own.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// What the program prints.
fn run(dir: &Path, args: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_own-game"));
    let output = program.current_dir(dir).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn every_command_knows_a_game_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| run(dir.path(), args);
    assert!(run(&["games"]).contains("Treblecross") && run(&["games"]).contains("Tic-tac-toe"));
    assert!(run(&["recipes"]).contains("Treblecross on 11 cells"));
    assert!(run(&["config", "show", "treblecross"]).contains("treblecross"));
    // Half of the run, and then the other half.
    let half = run(&["train", "treblecross", "--set", "run.generations=4"]);
    assert!(half.contains("Graded by an exact solver"), "{half}");
    let whole = run(&["train", "--run", "runs/treblecross", "--set", "run.generations=8"]);
    assert!(whole.contains("8"), "{whole}");
    let verified = run(&["verify", "--run", "runs/treblecross", "--replay"]);
    assert!(verified.contains("the games of rounds 5 to 8 are the same"), "{verified}");
    let graded = run(&["grade", "--run", "runs/treblecross", "--json"]);
    assert!(graded.contains("decisions"), "{graded}");
    let weights = "runs/treblecross/checkpoints/8/weights.safetensors";
    let matched = run(&["match", weights, "uniform", "--pairs", "10", "--simulations", "8"]);
    assert!(matched.contains("Elo"), "{matched}");
    run(&["play", "--run", weights]);
    assert!(run(&["label", "treblecross", "--positions", "3", "--before-end", "2", "4"]).lines().count() == 4);
    assert!(run(&["bench", "search", "--game", "treblecross", "--seconds", "0.1"]).contains("simulations per second"));
    assert!(run(&["doctor", "--run", "runs/treblecross"]).len() < 100_000);
}

#[test]
fn its_recipes_are_checked_with_its_ranges() {
    let refused = Command::new(env!("CARGO_BIN_EXE_own-game"))
        .args(["train", "treblecross", "--set", "search.opening_plies=11"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        message.contains("search.opening_plies = 11 is out of range: it must be from 0 to 10 in Treblecross"),
        "{message}"
    );
}
