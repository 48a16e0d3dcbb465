//! Matches are pure, fair to both sides, and stop where a sequential test says so.

use crate::{lockstep as program, small, text};
use lockstep::{
    device,
    elo::{Hypothesis, Sprt},
    matches::{Match, Score},
    prelude::*,
    settings,
};
use std::{fs, path::Path};

fn played(game: &Match, lanes: u32, threads: usize, simulations: [u32; 2]) -> Score {
    let lanes = LanesConfig { count: lanes, ..Default::default() };
    device::with_threads(threads, || {
        let settings = simulations.map(|simulations| SearchConfig::default().to_win(simulations));
        let player = |i: usize| (Searcher::new(Rollouts::<TicTacToe>::new(1, 1), settings[i].clone()), &settings[i]);
        game.play(AnyGame::of::<TicTacToe>(), State::of(TicTacToe::start()), [player(0), player(1)], lanes, |_| true)
    })
    .unwrap()
}

#[test]
fn a_match_depends_on_its_players_alone() {
    let game = Match { pairs: 60, opening_plies: 4, seed: 7, leaves: 1, sprt: None };
    let alone = played(&game, 1, 1, [60, 4]);
    assert_eq!(alone, played(&game, 33, 2, [60, 4]));
    assert_eq!((2 * alone.pairs.pairs() + alone.repeated, alone.results.iter().sum()), (120, 2 * alone.pairs.pairs()));
    assert!(alone.pairs.score() > 0.6 && alone.pairs.elo().low > 0.0, "{alone:?}");
    assert!(alone.repeated > 0, "60 pairs from some hundred positions repeat some");
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

    let sprt = Some(Sprt { elo0: 0.0, elo1: 200.0, alpha: 0.05, beta: 0.05 });
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
    let games = ["games", "repeated"].map(|key| json[key].as_u64().unwrap());
    assert_eq!((games[0] + games[1], json["policies"][0].as_str()), (24, Some("puct")));
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
    refused(&["a", "a", "--b-set", "search.c_puct=-1"], "--b-set search.c_puct=-1: search.c_puct");
    refused(&["a", "a", "--a-set", "search.opening_plies=3"], "give --opening-plies in its place");
    refused(&["a", "a", "--opening-plies", "9"], "from 0 to 8");
    refused(&["a", "a", "--sprt", "5", "0"], "below the second");
    refused(&["--ladder"], "--run");
    refused(&["a", "a", "--simulations", "0"], "1..=1000000");
}

/// Plays a match, and returns the line of JSON that it prints.
fn result(dir: &Path, args: &[&str]) -> serde_json::Value {
    let output = program(dir, &[&["match", "--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).unwrap()
}

/// What neither player draws anything for happens once from each position, however often it is played.
#[test]
fn a_position_is_evidence_once() {
    let dir = tempfile::tempdir().unwrap();
    let train = ["train", "--run", "a", "--set", "run.generations=2", "--set", "run.checkpoint_every=1"];
    let quick = ["run.games=20", "search.simulations=4", "network.channels=8"].map(|set| ["--set", set]);
    assert!(program(dir.path(), &[&train, quick.as_flattened()].concat()).status.success());
    let count = |args: &[&str]| {
        let line = result(dir.path(), args);
        assert_eq!(
            line["pairs"].as_array().unwrap().iter().map(|n| 2 * n.as_u64().unwrap()).sum::<u64>(),
            line["games"]
        );
        (line["games"].as_u64().unwrap(), line["repeated"].as_u64().unwrap(), line["verdict"].is_null())
    };
    let same = ["--opening-plies", "0", "--pairs", "50", "--sprt", "0", "20", "--simulations", "8"];
    for policy in ["puct", "gumbel"] {
        let policy = format!("search.policy={policy}");
        let players = ["a", "a@1", "--a-set", &policy, "--b-set", &policy];
        assert_eq!(count(&[&players, &same[..]].concat()), (2, 98, true), "{policy}");
    }
    let shown = text(&program(dir.path(), &[&["match", "a", "a@1"], &same[..]].concat()).stdout);
    assert!(shown.contains("undecided; raise --opening-plies") && !shown.contains("give it more"), "{shown}");
    // Two moves lead to 12 positions that are not mirror images of each other.
    let all = ["a", "uniform", "--opening-plies", "2", "--pairs", "1000", "--simulations", "4"];
    assert_eq!(count(&all), (24, 1976, true));
    // Players that draw at random say something new each time.
    let noisy = ["a", "a@1", "--opening-plies", "0", "--pairs", "9", "--b-set", "search.temperature=1"];
    assert_eq!(count(&noisy).0, 18);
}

/// Nobody is given more simulations than the other unless that is asked for, and a file of weights brings its search
/// along.
#[test]
fn both_sides_search_alike() {
    let dir = tempfile::tempdir().unwrap();
    let train = |run: &str, sets: &[&str]| {
        let sets = ["run.generations=1", "run.games=20", "search.simulations=4"].iter().chain(sets);
        let sets: Vec<&str> = sets.flat_map(|set| ["--set", *set]).collect();
        assert!(program(dir.path(), &[&["train", "--run", run], &sets[..]].concat()).status.success());
    };
    train("a", &["run.grade_simulations=9", "search.policy=gumbel"]);
    train("b", &["run.grade_simulations=7"]);
    let weights = "a/checkpoints/1/weights.safetensors";
    let simulations = |args: &[&str]| {
        let line = result(dir.path(), &[args, &["--pairs", "2"]].concat());
        (line["simulations"].to_string(), line["policies"][0].as_str().unwrap().to_string())
    };
    for (players, expected) in [
        (&["a", weights][..], "[9,9]"),
        (&[weights, "a"], "[9,9]"),
        (&[weights, "b"], "[9,9]"),
        (&["a", "rollout"], "[9,9]"),
        (&["a", "b", "--b-set", "search.simulations=5"], "[9,5]"),
        (&["a", "b", "--simulations", "6", "--a-set", "search.simulations=5"], "[5,6]"),
    ] {
        assert_eq!(simulations(players), (expected.into(), "gumbel".into()), "{players:?}");
    }
    assert_eq!(simulations(&["uniform", "rollout", "--game", "tictactoe"]).0, "[64,64]");
    let graded = |run: &str| text(&program(dir.path(), &["grade", "--run", run]).stdout);
    assert!(
        graded(weights).contains(", 9 simulations a move") && graded(weights) == graded("a"),
        "{}",
        graded(weights)
    );
    // A file that does not tell is searched with as by default.
    let bytes = fs::read(dir.path().join(weights)).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    let mut about: serde_json::Value =
        serde_json::from_str(header["__metadata__"]["lockstep"].as_str().unwrap()).unwrap();
    let mut told: toml::Table = about["settings"].as_str().unwrap().parse().unwrap();
    assert!(told.remove("search").is_some() && told.remove("run").is_some());
    about["settings"] = told.to_string().into();
    header["__metadata__"]["lockstep"] = about.to_string().into();
    let header = header.to_string().into_bytes();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, data].concat();
    fs::write(dir.path().join("old.safetensors"), bytes).unwrap();
    assert_eq!(simulations(&["old.safetensors", "uniform"]), ("[64,64]".into(), "puct".into()));
}

/// JSON has no numbers without end.
#[test]
fn an_elo_without_end_is_told_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let players = ["uniform", "uniform", "--game", "tictactoe", "--a-set", "search.simulations=500"];
    let line =
        result(dir.path(), &[&players[..], &["--b-set", "search.simulations=1", "--opening-plies", "0"]].concat());
    assert_eq!((line["elo"].as_str(), line["elo_high"].as_str()), (Some("inf"), Some("inf")), "{line}");
    assert!(line["elo_low"].is_number(), "{line}");
}

/// A folder may have any name.
#[cfg(unix)]
#[test]
fn folders_need_not_be_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};
    let dir = tempfile::tempdir().unwrap();
    let train =
        ["train", "--run", "a", "--set", "run.generations=1", "--set", "run.games=9", "--set", "search.simulations=4"];
    assert!(program(dir.path(), &train).status.success());
    fs::rename(dir.path().join("a"), dir.path().join(OsStr::from_bytes(b"a\xff"))).unwrap();
    for name in [&b"a\xff"[..], b"a\xff@1"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.current_dir(dir.path()).arg("match").arg(OsStr::from_bytes(name)).args(["uniform", "--pairs", "1"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}
