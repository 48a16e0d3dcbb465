//! What lockstep promises, a module for each behaviour.

mod cli;
mod determinism;
mod devices;
mod experiments;
mod golden;
mod inputs;
mod learning;
mod metrics;
mod networks;
mod promises;
mod readme;
mod resume;
mod search;

use lockstep::{components::Config, settings};

/// A small and quick tic-tac-toe run.
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
    settings::load(None, &all.iter().map(|s| s.to_string()).collect::<Vec<_>>()).expect("a sound configuration")
}
