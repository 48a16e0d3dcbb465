//! Matches are pure, fair to both sides, and stop where a sequential test says so.

use crate::{lockstep as program, small, text};
use lockstep::{
    device,
    elo::{Hypothesis, Sprt},
    matches::{Match, Score},
    prelude::*,
    settings,
};
use std::fs;

fn played(game: &Match, lanes: u32, threads: usize, simulations: [u32; 2]) -> Score {
    let lanes = LanesConfig { count: lanes, ..Default::default() };
    device::with_threads(threads, || {
        let settings = simulations.map(|simulations| SearchConfig::default().to_win(simulations));
        let player =
            |i: usize| (Player::<TicTacToe>::new(Rollouts::<TicTacToe>::new(1, 1), settings[i].clone()), &settings[i]);
        game.play(TicTacToe::start(), [player(0), player(1)], lanes, |_| {})
    })
    .unwrap()
}

#[test]
fn a_match_depends_on_its_players_alone() {
    let game = Match { pairs: 60, opening_plies: 2, seed: 7, leaves: 1, sprt: None };
    let alone = played(&game, 1, 1, [60, 4]);
    assert_eq!(alone, played(&game, 33, 2, [60, 4]));
    assert_eq!((2 * alone.pairs.pairs() + alone.repeated, alone.results.iter().sum()), (120, 2 * alone.pairs.pairs()));
    assert!(alone.pairs.score() > 0.6 && alone.pairs.elo().low > 0.0, "{alone:?}");
    assert!(alone.repeated > 0, "60 pairs from 72 openings repeat some");
    // The other way round it is the same strength, seen from the other side.
    assert!(played(&game, 33, 2, [4, 60]).pairs.elo().high < 0.0);
    // Equal players score alike from both sides of every opening.
    let equal = played(&game, 16, 2, [30, 30]);
    let pairs = equal.pairs.pairs();
    assert_eq!(equal.pairs.counts, [0, 0, pairs, 0, 0], "games of a pair are the same but for who is who");
    // The same pair again and again is one pair, and decides nothing.
    let sprt = Some(Sprt { elo0: 0.0, elo1: 1.0, alpha: 0.05, beta: 0.05 });
    let same = played(&Match { opening_plies: 0, pairs: 500, sprt, ..game }, 9, 2, [60, 4]);
    assert_eq!((same.pairs.pairs(), same.repeated, same.verdict), (1, 998, None));

    let sprt = Some(Sprt { elo0: 0.0, elo1: 100.0, alpha: 0.05, beta: 0.05 });
    let stopped = Match { pairs: 1_000, sprt, ..game };
    let early = played(&stopped, 5, 2, [60, 4]);
    assert_eq!(early, played(&stopped, 64, 1, [60, 4]), "it stops after the same pair");
    assert!(early.verdict == Some(Hypothesis::H1) && early.pairs.pairs() < 200, "{early:?}");
}

#[test]
fn runs_and_their_generations_play_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = small(&["run.generations=4", "run.checkpoint_every=2", "learn.steps={ reuse = 8.0 }"]);
    fs::write(dir.path().join("small.toml"), settings::to_text(&config)).unwrap();
    let run = |args: &[&str]| {
        let output = program(dir.path(), args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let refused = |args: &[&str], word: &str| {
        let output = program(dir.path(), &[&["match"], args].concat());
        assert!(!output.status.success() && text(&output.stderr).contains(word), "{args:?}: {}", text(&output.stderr));
    };
    run(&["train", "--config", "small.toml", "--run", "a"]);
    let line = run(&["match", "a", "uniform", "--pairs", "12", "--simulations", "8", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((json["games"].as_u64(), json["policies"][0].as_str()), (Some(24), Some("puct")));
    let again = run(&["match", "a", "uniform", "--pairs", "12", "--simulations", "8", "--json", "--threads", "1"]);
    assert_eq!(line, again);
    let gumbel = run(&["match", "a@2", "a", "--pairs", "3", "--a-set", "search.policy=gumbel"]);
    assert!(gumbel.contains("a@2 (gumbel") && gumbel.contains("a (puct") && gumbel.contains("Elo"), "{gumbel}");
    let ladder = run(&["match", "--run", "a", "--ladder", "--pairs", "3"]);
    assert!(ladder.contains("generation 2  ") && ladder.contains("generation 4  "), "{ladder}");
    refused(&["a@3", "a"], "there are those of 2, 4");
    refused(&["a@x", "a"], "number of a generation");
    refused(&["a", "uniform", "--game", "othello"], "--game othello");
    refused(&["--run", "nowhere", "--ladder"], "no run here");
    // One file of weights has no generations, and a path may have an @ of its own.
    let weights = "a/checkpoints/4/weights.safetensors";
    fs::copy(dir.path().join(weights), dir.path().join("me@4")).unwrap();
    refused(&["a/checkpoints/4/weights.safetensors@2", "uniform"], "has no generation 2");
    assert!(run(&["match", "me@4", "uniform", "--pairs", "2"]).contains("me@4 (puct"));
    // Searches of training have no part in it.
    run(&["train", "--config", "small.toml", "--run", "fast", "--set", "search.fast_simulations=4"]);
    run(&["match", "fast", "uniform", "--pairs", "2", "--a-set", "search.simulations=2"]);
    refused(&["a"], "name two players");
    refused(&["uniform", "rollout"], "--game");
    refused(&["a", "b"], "no run here");
    refused(&["a", "a", "--a-set", "lanes.count=3"], "only keys of [search]");
    refused(&["a", "a", "--b-set", "search.c_puct=-1"], "search.c_puct");
    refused(&["a", "a", "--opening-plies", "9"], "from 0 to 8");
    refused(&["a", "a", "--sprt", "5", "0"], "below the second");
    refused(&["--ladder"], "--run");
    refused(&["a", "a", "--simulations", "0"], "1..=1000000");
}
