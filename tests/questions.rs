//! What can be asked of a log of pure games: forks, why, compare, runs and prune.

use crate::{lockstep, text};
use lockstep::{
    AnyGame,
    folder::Folder,
    insight::why::Question,
    log::Log,
    settings::{self, Source},
};
use lockstep_components::{Action, Config, Game, GameRecord, games::TicTacToe, replay::Replay};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A short run with random openings, fast searches and a window that is narrower than the run is long.
const SETTINGS: [&str; 11] = [
    "run.generations=6",
    "run.lag=2",
    "run.games=40",
    "run.checkpoint_every=2",
    "run.grade_simulations=4",
    "search.simulations=12",
    "search.opening_plies=2",
    "search.cache_mb=1",
    "network.channels=16",
    "lanes.count=16",
    "replay.window=350",
];

/// Calls the program, and returns its exit code and all that it printed.
fn call(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = lockstep(dir, args);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Calls the program, which must succeed, and returns what it printed.
fn done(dir: &Path, args: &[&str]) -> String {
    let (code, printed) = call(dir, args);
    assert_eq!(code, Some(0), "{args:?}: {printed}");
    printed
}

fn json(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&done(dir, &[args, &["--json"]].concat())).unwrap()
}

fn train(dir: &Path, run: &str, set: &[&str]) {
    let set = SETTINGS.iter().chain(set).flat_map(|set| ["--set", set]);
    done(dir, &["train", "--run", run].into_iter().chain(set).collect::<Vec<_>>());
}

/// Returns what is the same in equal runs: the weights of a generation, the games of all rounds, and the metrics without
/// times.
fn made(run: &Path, generation: u64) -> (Vec<u8>, Vec<(PathBuf, Vec<u8>)>, Vec<String>) {
    let weights = fs::read(run.join(format!("checkpoints/{generation}/weights.safetensors"))).unwrap();
    let files = fs::read_dir(run.join("log")).unwrap().chain(fs::read_dir(run.join("games")).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.map(|path| (path.strip_prefix(run).unwrap().into(), fs::read(&path).unwrap())).collect();
    files.sort();
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let without_times = |line: &str| line.split_once(",\"evaluations\"").unwrap().0.to_string();
    (weights, files, metrics.lines().map(without_times).collect())
}

/// A fork without a change is its parent again, whatever has become of the parent meanwhile; with one it is another run from
/// the next round on.
#[test]
fn a_fork_goes_on_as_its_parent_whatever_becomes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, "parent", &[]);
    let expected = made(&path.join("parent"), 6);
    done(path, &["fork", "parent@2", "--run", "early"]);
    done(path, &["fork", "parent@4", "--run", "late"]);
    done(path, &["fork", "parent@4", "--run", "other", "--set", "learn.learning_rate=0.0001"]);
    let known = fs::read_to_string(path.join("late/metrics.jsonl")).unwrap();
    assert_eq!(known.lines().count(), 4, "a fork knows nothing of what its parent did later");
    let report = lockstep::insight::report::data(&path.join("other")).unwrap();
    assert_eq!((report.forked_from.as_deref(), &report.notices[..]), (Some("parent@4"), &[][..]));
    assert_eq!(report.changes.len(), 1, "{:?}", report.changes);
    let listed = done(path, &["doctor", "--run", "other"]);
    assert!(listed.contains("forked from parent@4") && listed.contains("from generation 5 on: learn.learning_rate"));
    // The parent goes on, keeps no games, is pruned, moved and removed.
    done(path, &["train", "--run", "parent", "--set", "run.keep_log=false", "--set", "run.generations=12"]);
    assert!(!path.join("parent/log/000004.games").exists());
    done(path, &["prune", "parent", "--keep", "1", "--yes"]);
    fs::rename(path.join("parent"), path.join("moved")).unwrap();
    fs::remove_dir_all(path.join("moved")).unwrap();
    for fork in ["early", "late"] {
        let sound = done(path, &["verify", "--run", fork, "--replay"]);
        assert!(sound.contains("and so are the weights of generation"), "{sound}");
        done(path, &["train", "--run", fork]);
        assert!(made(&path.join(fork), 6) == expected, "{fork} is another run than its parent");
        done(path, &["verify", "--run", fork, "--replay", "6"]);
    }
    done(path, &["train", "--run", "other"]);
    let (weights, files, metrics) = made(&path.join("other"), 6);
    assert_eq!((&metrics[..4], files.len()), (&expected.2[..4], expected.1.len()));
    let played = |files: &[(PathBuf, Vec<u8>)], round: u64| {
        let name = format!("games/{round:06}.txt");
        files.iter().find(|(path, _)| path.ends_with(&name)).unwrap().1.clone()
    };
    // With run.lag = 2 what generation 5 has learned is played with in round 7, and learned from in generation 5.
    assert!(played(&files, 6) == played(&expected.1, 6) && weights != expected.0 && metrics[4] != expected.2[4]);
    done(path, &["verify", "--run", "other", "--replay"]);
}

/// A fork that ends half-way, whatever fails it and however it is cleaned up after, leaves nothing that looks like a run, and
/// the next one is whole. Where links are refused, games are copied.
#[cfg(target_os = "linux")]
#[test]
fn a_fork_is_whole_or_none() {
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let library = crate::kills::faults(path);
    let count = path.join("count");
    fs::create_dir(path.join("runs")).unwrap();
    train(path, "runs/parent", &["run.generations=2"]);
    let attempt = |at: u64, more: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.current_dir(path).args(["fork", "runs/parent", "--run", "runs/fork"]).stdin(Stdio::null());
        command.env("LD_PRELOAD", &library).env("FAULT_AT", at.to_string()).env("FAULT_ERRNO", "5");
        command.env("FAULT_STAYS", "1").env("FAULT_COUNT", &count).envs(more.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, printed) = attempt(1, &[("FAULT_CALLS", "link")]);
    assert!(code == Some(0) && printed.contains("had to be copied"), "{printed}");
    done(path, &["verify", "--run", "runs/fork", "--replay"]);
    fs::remove_dir_all(path.join("runs/fork")).unwrap();
    let (code, _) = attempt(0, &[]);
    let changes: u64 = fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    assert!(code == Some(0) && changes > 40, "{changes}");
    fs::remove_dir_all(path.join("runs/fork")).unwrap();
    // What one attempt has left the next one removes first, so that it makes more changes: up to the one behind which the
    // fork has its name.
    let mut at = 0;
    loop {
        at += 1;
        let (code, printed) = attempt(at, &[]);
        assert!(code == Some(2) && printed.contains("os error 5"), "change {at}: {printed}");
        if path.join("runs/fork").exists() {
            break;
        }
        let listed = done(path, &["runs", "--json"]);
        assert!(listed.lines().count() == 1 && listed.contains("runs/parent"), "change {at}: {listed}");
    }
    assert!(at >= changes, "{at} of {changes}");
    done(path, &["verify", "--run", "runs/fork", "--replay"]);
    fs::remove_dir_all(path.join("runs/fork")).unwrap();
    done(path, &["fork", "runs/parent", "--run", "runs/fork"]);
    done(path, &["verify", "--run", "runs/fork", "--replay"]);
    assert_eq!(done(path, &["runs", "--json"]).lines().count(), 2);
}

/// The symmetries of the board by hand: turned and mirrored.
fn symmetric(cells: &[u8]) -> Vec<Vec<u8>> {
    let turned = |cells: &[u8]| (0..9).map(|i| cells[3 * (2 - i % 3) + i / 3]).collect::<Vec<u8>>();
    let mirrored = |cells: &[u8]| (0..9).map(|i| cells[3 * (i / 3) + 2 - i % 3]).collect::<Vec<u8>>();
    let mut all = vec![cells.to_vec()];
    (0..3).for_each(|_| all.push(turned(&all[all.len() - 1])));
    (0..4).for_each(|i| all.push(mirrored(&all[i])));
    all
}

fn cells(moves: &[Action]) -> Vec<u8> {
    let mut cells = vec![b'.'; 9];
    moves.iter().enumerate().for_each(|(ply, &action)| cells[usize::from(action)] = [b'x', b'o'][ply % 2]);
    cells
}

/// What `why` says of a position is what counting by hand finds in the log, and what is in a replay buffer that is filled as
/// that of the run was.
#[test]
fn why_counts_the_games_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, "run", &["search.full_search_chance=0.5"]);
    let folder = Folder::at(&path.join("run"));
    let config: Config = settings::load(Source::File(&folder.config()), &[]).unwrap();
    let log = Log::of(&folder);
    let rounds: Vec<Vec<GameRecord>> =
        (1..=6).map(|round| log.read(AnyGame::of::<TicTacToe>(), round).unwrap().unwrap().games).collect();
    // A position in the middle of games: its third move is one of three that are not the same.
    for moves in ["", "b2", "a1 b2", "a1 b2 c3", "c2 b2 a1 c3"] {
        let asked = TicTacToe::parse(moves).unwrap();
        let line: Vec<Action> = TicTacToe::start().line(moves).unwrap();
        let same = symmetric(&cells(&line));
        let why = json(path, &["why", "run", moves, "--games", "1000"]);
        let about = why["about"].as_str().unwrap();
        let behind = symmetric(&cells(&[&line[..], &[asked.parse_action(about).unwrap()]].concat()));
        let mut replay = Replay::<TicTacToe>::new(config.replay.window);
        let (mut found, mut learned) = (0, vec![]);
        for (games, round) in rounds.iter().zip(1..) {
            let (mut results, mut searched, mut played, mut targets, mut target) = ([0u64; 3], 0u64, 0u64, 0u64, 0.0);
            for game in games {
                replay.push(&TicTacToe::start(), game);
                let all: Vec<Action> = game.moves().collect();
                if line.len() >= all.len() || !same.contains(&cells(&all[..line.len()])) {
                    continue;
                }
                let for_first = game.finished.unwrap().value() as i32;
                let own = if line.len().is_multiple_of(2) { for_first } else { -for_first };
                results[(1 - own) as usize] += 1;
                found += 1;
                if let Some(index) = line.len().checked_sub(game.opening.len()) {
                    searched += 1;
                    let is_about = |action| behind.contains(&cells(&[&all[..line.len()], &[action]].concat()));
                    played += u64::from(is_about(game.plies[index].action));
                    let (_, ply, policy) = game.iter(TicTacToe::start()).nth(index).unwrap();
                    if ply.policy_len > 0 {
                        targets += 1;
                        let sum: f64 = policy.iter().map(|of| f64::from(of.1)).sum();
                        target +=
                            policy.iter().filter(|of| is_about(of.0)).map(|of| f64::from(of.1)).sum::<f64>() / sum;
                    }
                }
            }
            let said = why["rounds"].as_array().unwrap().iter().find(|of| of["round"] == round);
            let Some(said) = said else {
                assert_eq!(results, [0; 3], "'{moves}' in round {round}");
                continue;
            };
            assert_eq!(said["results"], serde_json::json!(results), "'{moves}' in round {round}");
            assert_eq!((&said["searched"], &said["played"]), (&searched.into(), &played.into()), "'{moves}', {about}");
            assert_eq!(said["targets"], targets);
            assert!((said["target_sum"].as_f64().unwrap() - target).abs() < 1e-3, "'{moves}': {said} {target}");
            let is_in = |replay: &Replay<TicTacToe>| {
                replay
                    .iter()
                    .any(|(sample, _)| TicTacToe::canonical(sample.key).0 == TicTacToe::canonical(asked.key()).0)
            };
            if is_in(&replay) {
                learned.push(round);
            }
        }
        assert_eq!(why["games"].as_array().unwrap().len(), found);
        let spans = why["learned"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|span| span[0].as_u64().unwrap()..=span[1].as_u64().unwrap());
        let spans: Vec<u64> =
            spans.filter(|round| why["rounds"].as_array().unwrap().iter().any(|of| of["round"] == *round)).collect();
        assert_eq!(spans, learned, "'{moves}'");
        let generations: Vec<u64> =
            why["generations"].as_array().unwrap().iter().map(|of| of["generation"].as_u64().unwrap()).collect();
        assert_eq!(generations, [2, 4, 6]);
        let newest = &why["generations"][2];
        assert_eq!(newest["plays"], about);
    }
    // It stops where it is told to, within each part of the work.
    for most in 0..9 {
        let mut told = 0;
        let stopped = lockstep::insight::why::why(&path.join("run"), &Question::default(), |_| {
            told += 1;
            told <= most
        });
        assert!(stopped.unwrap().is_none() && told == most + 1, "{told} of {most}");
    }
    // Nothing moved the player away from what it is asked about: text for people says the same.
    let shown = done(path, &["why", "run", "a1 b2"]);
    assert!(shown.contains("After a1 b2, the first player to move:") && shown.contains("came through this position"));
}

/// A run is as good as itself; groups are told apart by what they are made with, and what is asked twice is refused.
#[test]
fn a_run_compares_with_itself_as_equal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let quick = ["run.lag=1", "run.generations=4"];
    train(path, "a1", &quick);
    let same = json(path, &["compare", "a1", "a1", "--pairs", "5"]);
    let difference = &same["differences"][0];
    assert_eq!(same["differences"].as_array().unwrap().len(), 1);
    assert_eq!(difference["mistakes"]["difference"], serde_json::json!({"value": 0.0, "low": 0.0, "high": 0.0}));
    assert_eq!(
        (&difference["mistakes"]["method"], &difference["matched"]["elo"]),
        (&"exact_mcnemar".into(), &0.0.into())
    );
    assert_eq!(same["positions"], 4520);
    assert!(!path.join("a1/matches.jsonl").exists(), "a run has no match against itself");
    // Two seeds of two settings.
    train(path, "a2", &[&quick[..], &["run.seed=2"]].concat());
    for seed in ["1", "2"] {
        done(path, &["fork", &format!("a{seed}@2"), "--set", "learn.learning_rate=0.05", "--run", &format!("b{seed}")]);
        done(path, &["train", "--run", &format!("b{seed}")]);
    }
    let runs = ["compare", "a1", "b2", "b1", "a2", "--pairs", "2", "--simulations", "0"];
    let groups = json(path, &runs);
    assert_eq!(groups["groups"], serde_json::json!([["a1", "a2"], ["b1", "b2"]]));
    // Each match stands in both runs, from either side.
    let met = |run: &str| -> Vec<Value> {
        let lines = fs::read_to_string(path.join(run).join("matches.jsonl")).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (own, other) = (met("a1"), met("b1"));
    assert_eq!((own.len(), other.len()), (groups["differences"].as_array().unwrap().len(), own.len()));
    for (own, other) in own.iter().zip(&other) {
        let reversed = |key: &str| own[key].as_array().unwrap().iter().rev().cloned().collect::<Vec<_>>();
        assert_eq!(
            (&Value::Array(reversed("results")), &Value::Array(reversed("pairs"))),
            (&other["results"], &other["pairs"])
        );
        assert_eq!((&own["against"], &other["against"]), (&"b1".into(), &"a1".into()));
        assert_eq!((&own["played"], &own["generation"]), (&other["played"], &other["against_generation"]));
        assert_eq!(own["score"].as_f64().unwrap() + other["score"].as_f64().unwrap(), 1.0);
    }
    let newest = groups["differences"].as_array().unwrap().iter().find(|of| of["basis"] == "newest");
    let newest = newest.or(groups["differences"].as_array().unwrap().last()).unwrap();
    let mistakes = |group: &str, at: usize| newest[group][at]["mistakes"].as_f64().unwrap();
    let expected = 0.5 * (mistakes("second", 0) - mistakes("first", 0) + mistakes("second", 1) - mistakes("first", 1));
    assert_eq!(
        (&newest["mistakes"]["method"], &newest["mistakes"]["difference"]["value"]),
        (&"paired_seeds".into(), &expected.into())
    );
    assert!(expected != 0.0 && newest["mistakes"]["same_seed"].is_f64(), "{newest}");
    // The mistakes are those that grade finds.
    let graded = done(path, &["grade", "--run", "b2", "--network-only", "--json"]);
    let first: Value = serde_json::from_str(graded.lines().next().unwrap()).unwrap();
    assert_eq!(first["mistakes"].as_f64(), Some(mistakes("second", 1)));
}

/// Pruning removes nothing before it is told to and nothing of a run in use, and the run goes on as it would have.
#[test]
fn a_pruned_run_goes_on_and_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, "run", &[]);
    crate::resume::copy(&path.join("run"), &path.join("whole"));
    let files = || crate::folders::state(&path.join("run"));
    let before = files();
    let plan = json(path, &["prune", "run", "--keep", "2"]);
    assert_eq!((&plan["checkpoints"], &plan["removed"]), (&serde_json::json!([2]), &false.into()));
    assert!(files() == before, "a plan has removed something");
    {
        let _training = Folder::at(&path.join("run")).lock().unwrap();
        assert!(json(path, &["runs", "run"])["state"] == "training");
        let (code, printed) = call(path, &["prune", "run", "--keep", "2", "--yes"]);
        assert!(code == Some(2) && printed.contains("another lockstep is training"), "{printed}");
    }
    // What stays is not sound: what goes may be all there is.
    let weights = path.join("run/checkpoints/6/weights.safetensors");
    let sound = fs::read(&weights).unwrap();
    fs::write(&weights, &sound[1..]).unwrap();
    let (code, printed) = call(path, &["prune", "run", "--keep", "1", "--yes"]);
    assert!(code == Some(2) && printed.contains("is damaged"), "{printed}");
    fs::write(&weights, &sound).unwrap();
    assert!(files() == before, "pruning that is refused has removed something");

    let bytes = |run: &str| json(path, &["runs", run])["bytes"].as_u64().unwrap();
    let size = bytes("run");
    let pruned = json(path, &["prune", "run", "--keep", "2", "--yes"]);
    assert_eq!(size - bytes("run"), pruned["frees"].as_u64().unwrap());
    assert!(!path.join("run/log/000001.games").exists() && path.join("run/checkpoints/4").is_dir());
    let verified = done(path, &["verify", "--run", "run", "--replay"]);
    assert!(verified.contains("weights of generation 6"), "{verified}");
    for run in ["run", "whole"] {
        done(path, &["train", "--run", run, "--set", "run.generations=8"]);
    }
    let last = |run: &str| fs::read(path.join(run).join("checkpoints/8/weights.safetensors")).unwrap();
    assert!(last("run") == last("whole"), "a pruned run has gone on otherwise");
    done(path, &["verify", "--run", "run", "--replay"]);
    assert_eq!(json(path, &["runs", "run"])["state"], "finished");
}

/// Whatever is named, an error says what is wrong with it, and nothing is written.
#[test]
fn hostile_questions_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, "run", &["run.generations=4"]);
    train(path, "other", &["run.generations=2", "game.name=connect_four"]);
    fs::create_dir(path.join("full")).unwrap();
    fs::write(path.join("full/file"), "").unwrap();
    let before = crate::folders::state(path);
    for (args, words) in [
        (&["why", "nowhere", ""][..], "there is no run here"),
        (&["why", "run", "z9"], "'z9', is not legal"),
        (&["why", "run", "a1 a1"], "is not"),
        (&["why", "run", "a1 \u{1f600} -x"], "is not"),
        (&["why", "run", "a1 b1 a2 b2 a3"], "the game is over"),
        (&["why", "run", "", "--move", "d4"], "d4"),
        (&["why", "run/checkpoints/4", ""], "a checkpoint of the run run"),
        (&["fork", "nowhere", "--run", "new"], "there is no run here"),
        (&["fork", "run@3", "--run", "new"], "there are those of 2, 4"),
        (&["fork", "run@x", "--run", "new"], "behind the @ stands the number"),
        (&["fork", "run", "--run", "full"], "something here already"),
        (&["fork", "run", "--run", "run"], "something here already"),
        (&["fork", "run", "--run", "full/file"], "something here already"),
        (&["fork", "run", "--run", "run/log/new"], "the folder of the run run"),
        (&["fork", "run", "--run", ".."], "something here already"),
        (&["fork", "run", "--run", ""], "a value is required"),
        (
            &["fork", "run", "--run", "new", "--set", "run.seed=5"],
            "run.seed = 1, which cannot change within a run, and not 5",
        ),
        (&["fork", "run", "--run", "new", "--set", "network.channels=5"], "network.channels = 16"),
        (&["fork", "run", "--run", "new", "--set", "learn.nothing=5"], "--set learn.nothing=5: unknown key"),
        (&["compare", "run"], "two runs or more"),
        (&["compare", "run", "nowhere"], "there is no run here"),
        (&["compare", "run", "other"], "only runs of one game"),
        (&["compare", "run", "run@1"], "there are those of 2, 4"),
        (&["compare", "run@2", "run@4", "run@4"], "say the same: name one of them"),
        (&["prune", "nowhere"], "there is no run here"),
        (&["prune", "full"], "there is no run here"),
        (&["prune", "run", "--keep", "0"], "from 1 to 1000000"),
        (&["runs", "nowhere"], "cannot read nowhere"),
    ] {
        let (code, printed) = call(path, args);
        assert!(code == Some(2) && printed.contains(words), "{args:?}: {printed}");
        assert!(!printed.contains("panicked"), "{args:?}: {printed}");
    }
    assert!(crate::folders::state(path) == before, "something was written");
}
