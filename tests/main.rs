//! What lockstep promises, a module for each behaviour.

mod bad_inputs;
mod cli;
mod determinism;
mod devices;
mod experiments;
#[cfg(feature = "fleet")]
mod fleet;
mod folders;
mod games;
mod golden;
mod gumbel;
mod hex;
mod inputs;
mod kills;
mod label;
mod learning;
mod matches;
mod metrics;
mod networks;
mod play;
mod promises;
mod questions;
mod readme;
mod relief;
mod report;
mod resume;
mod rows;
mod schema;
mod screen;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod strength;
mod verify;

use lockstep::{
    components::{
        Config,
        games::{GameVisitor, NAMES, visit},
    },
    settings,
};
use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs the program to its end in a folder, without any input.
fn lockstep(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockstep")).current_dir(dir).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Returns what a command of a shell shows on a terminal of its own; `{lockstep}` in it is the program.
#[cfg(target_os = "linux")]
fn on_terminal(dir: &Path, command: &str) -> String {
    let command = command.replace("{lockstep}", env!("CARGO_BIN_EXE_lockstep"));
    let mut script = Command::new("script");
    script.current_dir(dir).args(["-qec", &command, "/dev/null"]).stdin(Stdio::null());
    let output = script.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    assert!(output.status.success(), "{command}: {shown}");
    shown
}

/// Visits every game of the registry.
fn for_every_game(visitor: impl GameVisitor<Output = ()> + Copy) {
    for name in NAMES {
        visit(name, visitor).unwrap_or_else(|_| panic!("{name} is in the registry"));
    }
}

/// Returns how many times as many attacks there are as in a usual test run.
fn attacks() -> u64 {
    std::env::var("LOCKSTEP_ATTACKS").map_or(1, |n| n.parse().expect("LOCKSTEP_ATTACKS is a whole number"))
}

/// Returns what the program printed as text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the configuration of a small and quick tic-tac-toe run.
fn small(overrides: &[&str]) -> Config {
    let mut all = vec![
        "lanes.count=16",
        "search.simulations=12",
        "network.channels=16",
        "run.games=30",
        "run.generations=3",
        "learn.batch_size=64",
        "learn.steps={ batches = 4 }",
        "run.checkpoint_every=1",
        "run.device=cpu",
    ];
    all.extend(overrides);
    settings::load(settings::Source::default(), &all.iter().map(|s| s.to_string()).collect::<Vec<_>>())
        .expect("a sound configuration")
}
