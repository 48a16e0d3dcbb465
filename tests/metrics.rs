//! Metrics and verdicts: no line is lost, nothing is written by looking, and no grade is that of another player.

use crate::{lockstep, resume::copy, small};
use lockstep::{
    AnyGame, Hooks,
    components::games::TicTacToe,
    device,
    folder::Folder,
    metrics::{self, Metrics},
    trainer::{self, Event},
};
use lockstep_components::config::DeviceKind;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    time::SystemTime,
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Trains a run of so many generations in `run`, until it is finished and graded. Returns what it printed, and what it
/// complained of.
fn train(dir: &Path, generations: u64, more: &[&str]) -> (String, String) {
    let generations = format!("run.generations={generations}");
    let quick = ["run.games=20", "search.simulations=4", "network.channels=8", "run.grade_simulations=1"];
    let set = quick.into_iter().chain([generations.as_str()]).chain(more.iter().copied());
    let args: Vec<&str> = ["train", "--run", "run"].into_iter().chain(set.flat_map(|s| ["--set", s])).collect();
    let output = lockstep(dir, &args);
    let (printed, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}{complained}");
    (printed, complained)
}

/// Calls the command of a finished run without any settings. Returns what it printed, and what it complained of.
fn look(dir: &Path) -> (String, String) {
    let output = lockstep(dir, &["train", "--run", "run"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// Everything below a folder that changes when something is written: names, times and hashes of the contents.
type State = Vec<(String, SystemTime, u64)>;

fn state(dir: &Path) -> State {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let contents = if path.is_dir() { vec![] } else { fs::read(&path).unwrap() };
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut hasher = DefaultHasher::new();
        contents.hash(&mut hasher);
        found.push((path.display().to_string(), modified, hasher.finish()));
        if path.is_dir() {
            found.extend(state(&path));
        }
    }
    found.sort();
    found
}

/// Returns the lines of the metrics as they are.
fn lines(dir: &Path) -> Vec<String> {
    fs::read_to_string(dir.join("run/metrics.jsonl")).unwrap().lines().map(String::from).collect()
}

fn generations(dir: &Path) -> Vec<u64> {
    lines(dir).iter().map(|line| serde_json::from_str::<Metrics>(line).unwrap().generation).collect()
}

fn write_lines(dir: &Path, lines: &[String]) {
    fs::write(dir.join("run/metrics.jsonl"), lines.join("\n") + "\n").unwrap();
}

#[test]
fn a_damaged_line_costs_no_other_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, 4, &[]);
    let mut damaged = lines(path);
    damaged[1].replace_range(..1, "x");
    write_lines(path, &damaged);
    let original = fs::read(path.join("run/metrics.jsonl")).unwrap();

    // Looking tells of it, and leaves it.
    let before = state(path);
    let complained = look(path).1;
    assert!(complained.contains("metrics.jsonl: line 2 cannot be read"), "{complained}");
    assert_eq!(state(path), before);

    // Going on sets the file aside, and keeps every other line as it was.
    let complained = train(path, 5, &[]).1;
    assert!(complained.contains("line 2") && complained.contains("metrics.jsonl.damaged-1"), "{complained}");
    assert!(complained.contains("no lines of these generations: 2"), "{complained}");
    assert_eq!(generations(path), [1, 3, 4, 5]);
    assert_eq!(lines(path)[1..3], damaged[2..4]);
    assert_eq!(fs::read(path.join("run/metrics.jsonl.damaged-1")).unwrap(), original);

    // A second time, with bytes that are no text: what was set aside stays.
    let mut bytes = fs::read(path.join("run/metrics.jsonl")).unwrap();
    bytes[10] = 0xff;
    fs::write(path.join("run/metrics.jsonl"), &bytes).unwrap();
    let complained = train(path, 6, &[]).1;
    assert!(complained.contains("line 1") && complained.contains("metrics.jsonl.damaged-2"), "{complained}");
    assert_eq!(generations(path), [3, 4, 5, 6]);
    assert_eq!(fs::read(path.join("run/metrics.jsonl.damaged-1")).unwrap(), original);
    assert_eq!(fs::read(path.join("run/metrics.jsonl.damaged-2")).unwrap(), bytes);
}

#[test]
fn a_last_line_that_was_cut_off_is_dropped_whatever_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, 2, &[]);
    let file = path.join("run/metrics.jsonl");
    let whole = fs::read(&file).unwrap();
    for (generations_now, tail) in [(3, &b"{\"generation\":3,\"ga"[..]), (4, b"\xff\xfe\x00"), (5, b"\xc3")] {
        fs::write(&file, [&fs::read(&file).unwrap()[..], tail].concat()).unwrap();
        let complained = train(path, generations_now, &[]).1;
        assert!(complained.contains("the last line was cut off"), "{complained}");
        assert_eq!(generations(path), (1..=generations_now).collect::<Vec<_>>());
    }
    assert!(fs::read(&file).unwrap().starts_with(&whole));
    assert!(!path.join("run/metrics.jsonl.damaged-1").exists());
}

#[test]
fn gaps_and_disorder_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, 4, &[]);
    let whole = lines(path);
    assert_eq!(look(path).1, "");
    write_lines(path, &[whole[0].clone(), whole[3].clone()]);
    let complained = look(path).1;
    assert!(complained.contains("metrics.jsonl") && complained.contains("generations: 2 to 3"), "{complained}");
    write_lines(path, &[0, 2, 1, 3].map(|i| whole[i].clone()));
    let complained = look(path).1;
    assert!(complained.contains("not in order: that of 2"), "{complained}");
    fs::remove_file(path.join("run/metrics.jsonl")).unwrap();
    let complained = train(path, 5, &[]).1;
    assert!(complained.contains("generations: 1 to 4"), "{complained}");
    assert_eq!(generations(path), [5]);
}

#[test]
fn a_run_without_its_checkpoints_is_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    // Shorter than `checkpoint_every`, so that the metrics alone do not prove that there was a checkpoint.
    train(path, 2, &[]);
    fs::remove_file(path.join("run/verdict.jsonl")).unwrap();
    let checkpoints = path.join("run/checkpoints");
    fs::rename(&checkpoints, path.join("kept")).unwrap();
    let refused = |generations: &str| {
        let before = state(path);
        let output = lockstep(path, &["train", "--run", "run", "--set", generations]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}{message}", text(&output.stdout));
        for words in ["error: run: ", "run/checkpoints", "--run", "remove metrics.jsonl"] {
            assert!(message.contains(words), "'{words}' is missing in: {message}");
        }
        // But for the lock, which is part of no run.
        let unlocked = |state: State| -> Vec<(String, u64)> {
            state.into_iter().filter(|s| !s.0.ends_with(".lock")).map(|s| (s.0, s.2)).collect()
        };
        assert_eq!(unlocked(state(path)), unlocked(before));
    };
    refused("run.generations=2");
    refused("run.generations=3");
    fs::create_dir(&checkpoints).unwrap();
    refused("run.generations=3");
    // A folder of an earlier version has no note, but metrics that go on after the first checkpoint.
    if path.join("run/.saved").exists() {
        fs::remove_file(path.join("run/.saved")).unwrap();
    }
    let config = fs::read_to_string(path.join("run/config.toml")).unwrap();
    let every = config.replace("checkpoint_every = 10", "checkpoint_every = 1");
    assert_ne!(every, config);
    fs::write(path.join("run/config.toml"), every).unwrap();
    refused("run.generations=3");

    // The ways out: put them back, or remove what is named.
    fs::remove_dir(&checkpoints).unwrap();
    fs::rename(path.join("kept"), &checkpoints).unwrap();
    train(path, 3, &[]);
    assert_eq!(generations(path), [1, 2, 3]);
    fs::remove_dir_all(&checkpoints).unwrap();
    for file in ["metrics.jsonl", "verdict.jsonl", ".saved"] {
        fs::remove_file(path.join("run").join(file)).unwrap();
    }
    train(path, 1, &[]);
    assert_eq!(generations(path), [1]);
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_begins_anew() {
    let config = small(&["run.checkpoint_every=2"]);
    let place = device::place(DeviceKind::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    let open =
        |config| trainer::open(AnyGame::of::<TicTacToe>(), config, &place, &folder, None, &Hooks::default()).unwrap();
    // Killed after the first line, and after that of the generation whose checkpoint was not written any more.
    for killed in [1, 2] {
        let mut run = open(&config);
        assert_eq!(run.generation(), 0);
        assert_eq!(fs::read(folder.metrics()).unwrap_or_default(), b"");
        while run.generation() < killed {
            if let Event::Generation(generation, _) = run.advance().unwrap() {
                metrics::append(&folder.metrics(), &generation).unwrap();
            }
        }
    }
    // It is not the settings that it goes on with which tell when a checkpoint was due.
    let config = small(&["run.checkpoint_every=1"]);
    assert_eq!(open(&config).generation(), 0);
}

#[test]
fn looking_at_a_finished_run_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, 2, &[]);
    let before = state(path);
    let printed = look(path).0;
    assert!(printed.contains("is finished") && printed.contains("decisions"), "{printed}");
    assert_eq!(state(path), before);
}

#[test]
fn reading_leaves_what_is_half_written_or_removed_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, 2, &[]);
    let checkpoints = path.join("run/checkpoints");
    fs::create_dir(checkpoints.join(".partial")).unwrap();
    fs::create_dir(checkpoints.join(".removed-1")).unwrap();
    let before = state(path);
    for args in [
        &["grade", "--run", "run", "--simulations", "1"][..],
        &["grade", "--run", "run", "--simulations", "1", "--checkpoint", "2"],
        &["play", "--run", "run", "--simulations", "1"],
    ] {
        let output = lockstep(path, args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        assert_eq!(state(path), before, "{args:?}");
    }
    // A command that trains has the lock, and tidies.
    look(path);
    assert!(!checkpoints.join(".partial").exists() && !checkpoints.join(".removed-1").exists());
}

#[test]
fn a_verdict_is_kept_only_for_what_it_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    train(path, 2, &[]);
    let verdict = path.join("run/verdict.jsonl");
    // A number that no grading gives tells whether the stored one is shown.
    let graded = fs::read_to_string(&verdict).unwrap();
    let mistakes = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["mistakes"].as_u64();
    let found = format!("\"mistakes\":{}", mistakes(graded.lines().next().unwrap()).unwrap());
    let marked = graded.replace(&found, "\"mistakes\":77777");
    assert_ne!(marked, graded);
    let is_kept = |dir: &Path, stored: &str| {
        fs::write(dir.join("run/verdict.jsonl"), stored).unwrap();
        let printed = look(dir).0;
        assert!(printed.contains("decisions") && printed.contains("lines_of_play"), "{printed}");
        let kept = printed.contains("77777");
        // What was made anew is whole.
        let after = fs::read_to_string(dir.join("run/verdict.jsonl")).unwrap();
        assert!(if kept { after == stored } else { after.lines().count() == 2 && !after.contains("77777") });
        kept
    };
    assert!(is_kept(path, &marked), "graded anew though nothing has changed");

    // Parts of a file are not the file.
    let (first, second) = marked.split_once('\n').unwrap();
    let cut = &marked[..marked.len() - 10];
    for part in [first.to_string(), format!("{first}\n"), format!("{first}\n{first}\n"), cut.into(), "".into()] {
        assert!(!is_kept(path, &part), "a part is taken for the whole: {part}");
    }
    assert!(!is_kept(path, &format!("{second}\n{first}\n")), "the order is not that of a grading");

    // Other search settings.
    let config = fs::read_to_string(path.join("run/config.toml")).unwrap();
    for (key, value) in [("c_puct = 1.5", "c_puct = 3.0"), ("solver = true", "solver = false")] {
        let other = config.replace(key, value);
        assert_ne!(other, config, "{key}");
        fs::write(path.join("run/config.toml"), other).unwrap();
        assert!(!is_kept(path, &marked), "{value} shows the grade of {key}");
    }
    fs::write(path.join("run/config.toml"), &config).unwrap();
    assert!(is_kept(path, &marked));
    // Another number of simulations, on the command line.
    fs::write(&verdict, &marked).unwrap();
    assert!(!train(path, 2, &["run.grade_simulations=2"]).0.contains("77777"));

    // The same generation of another training: other weights.
    let other = tempfile::tempdir().unwrap();
    train(other.path(), 2, &["run.seed=7"]);
    assert!(!is_kept(other.path(), &marked), "another network shows this one's grade");

    // Another version of the program, and a file from before there was a basis.
    copy(&path.join("run"), &other.path().join("run"));
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(!is_kept(other.path(), &marked.replace(&version, "\"version\":\"0.0.1\"")), "another version's grade");
    assert!(is_kept(other.path(), &marked));
}

/// With so many simulations tic-tac-toe is proven from nearly any position, mostly in a search before.
#[test]
fn roots_that_arrive_proven_count_as_proven_and_no_share_is_above_one() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), 1, &["search.simulations=4000", "search.fast_simulations=0"]);
    let metrics: Metrics = serde_json::from_str(&lines(dir.path())[0]).unwrap();
    assert!((0.8..=1.0).contains(&metrics.proven), "{}", metrics.proven);
}
