//! `lockstep label`: what it tells, where it ends, and what it refuses.

use crate::{lockstep, text};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// Calls `lockstep label`, which must fail with code 2 and a message that has all of these words, and returns what was
/// printed.
fn refused(args: &[&str], words: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let output = lockstep(dir.path(), &[&["label"], args].concat());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: '{word}' is missing in: {message}");
    }
    text(&output.stdout)
}

#[test]
fn it_tells_what_it_does_before_anything_is_solved() {
    // Nothing is solved so far from the end, however long it takes.
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["label", "othello6", "--before-end", "32", "32", "--nodes", "1000000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "Solving 1000 positions of Othello 6x6, 32 to 32 plies before the end.\n");
}

#[test]
fn it_ends_where_too_few_are_solved() {
    let found = refused(
        &["tictactoe", "--before-end", "20", "30", "--tries", "5"],
        &["error: 0 solved of 5 tried (0 given up, 5 games too short)", "--before-end", "--nodes", "--tries"],
    );
    assert_eq!(found, "set,moves,score,scores\n");
    // What was found is there. A game of nine plies has a ninth position from its end, and the others have none.
    let found = refused(&["tictactoe", "--before-end", "9", "9", "--tries", "1", "--seed", "2"], &["not one in 1"]);
    let whole = refused(&["tictactoe", "--before-end", "9", "9", "--tries", "2", "--seed", "2"], &["not one in 2"]);
    assert!(found.lines().count() > 1 && whole.starts_with(&found), "{found}and\n{whole}");
}

#[test]
fn games_whose_history_decides_are_refused() {
    refused(&["go5"], &["Go 5x5", "history", "lockstep match"]);
    refused(&["go5", "--set", "game.komi=7.5"], &["Go 5x5", "history"]);
}

#[test]
fn it_has_a_name_and_rules() {
    let dir = tempfile::tempdir().unwrap();
    let named = ["label", "tictactoe", "--positions", "3", "--name", "late, \"hard\"", "--threads", "1"];
    let output = lockstep(dir.path(), &named);
    assert_eq!(text(&output.stdout).matches("\n\"late, \"\"hard\"\"\",").count(), 3, "{}", text(&output.stdout));
    assert!(text(&output.stderr).ends_with("games too short).\n"), "{}", text(&output.stderr));
    refused(&["tictactoe", "--set", "late"], &["game.key=value", "--name late"]);
    refused(&["tictactoe", "--set", "game.komi=7.5"], &["game.komi = 7.5", "left out: Tic-tac-toe has none"]);
    refused(&["tictactoe", "--set", "game.kmoi=7.5"], &["did you mean game.komi?"]);
    for set in ["search.simulations=3", "game.name=othello6"] {
        refused(&["tictactoe", "--set", set], &[set, "rules of the game"]);
    }
}
