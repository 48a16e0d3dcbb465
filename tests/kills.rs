//! Runs of the program that are killed, or whose file system fails, end as one that was left alone.
//!
//! `LOCKSTEP_ATTACKS=N` makes it N times as many as in a usual test run.

use crate::{attacks, text};
use lockstep_components::LaneRng;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The settings of a short run with all that a checkpoint can hold: several cohorts, a batch in flight, a cache, more
/// checkpoints than are kept.
const SETTINGS: [&str; 13] = [
    "run.generations=8",
    "run.lag=2",
    "run.games=60",
    "run.checkpoint_every=2",
    "run.checkpoints=1",
    "run.grade_simulations=1",
    "search.simulations=12",
    "search.cache_mb=1",
    "lanes.count=24",
    "lanes.cohort=8",
    "lanes.in_flight=2",
    "network.channels=16",
    "run.threads=1",
];

fn training(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.current_dir(dir).args(["train", "--run", "run"]).stdin(Stdio::null());
    SETTINGS.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    command
}

/// Returns all that is left of a run, path and bytes, but for what no two runs have in common.
fn left(dir: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(at: &Path, root: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            if path.is_dir() {
                walk(&path, root, found);
            } else if !["manifest.json", "optimizer.bin", "strength.jsonl", "report.html"]
                .iter()
                .any(|of| name.ends_with(of))
            {
                // The manifest has the time that the run took, as the report has, and the optimiser's record identifiers drawn
                // by burn. Which generations are measured depends on time.
                found.push((name, fs::read(path).unwrap()));
            }
        }
    }
    let run = dir.join("run");
    let mut found = vec![];
    walk(&run, &run, &mut found);
    for (name, bytes) in &mut found {
        if name == "metrics.jsonl" {
            let lines = String::from_utf8(bytes.clone()).unwrap();
            let kept = lines.lines().map(|l| l.split_once(",\"evaluations\"").unwrap().0).collect::<Vec<_>>();
            *bytes = kept.join("\n").into_bytes();
        }
    }
    found.sort();
    found
}

/// Checks that two runs have left the same; fails with the names of the files that differ.
fn same(expected: &[(String, Vec<u8>)], found: &[(String, Vec<u8>)], after: &str) {
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(expected), names(found), "{after}: other files");
    let other = expected.iter().zip(found).filter(|(a, b)| a != b).map(|(a, _)| &a.0).collect::<Vec<_>>();
    assert!(other.is_empty(), "{after}: other contents of {other:?}");
}

fn finish(dir: &Path, after: &str) -> Output {
    let output = training(dir).output().unwrap();
    assert!(output.status.success(), "{after}: {}", text(&output.stderr));
    output
}

/// Makes a run that is left alone, and returns what is left of it and how long it took.
fn whole() -> (Vec<(String, Vec<u8>)>, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    finish(dir.path(), "left alone");
    (left(dir.path()), start.elapsed())
}

#[test]
fn killed_at_any_moment_a_run_ends_the_same() {
    let (expected, time) = whole();
    let mut rng = LaneRng::new(11, 0);
    let (mut kills, most) = (0, 4 * attacks());
    while kills < most {
        let dir = tempfile::tempdir().unwrap();
        // At most five in one run, so that all of its parts are met.
        for _ in 0..5.min(most - kills) {
            let mut child = training(dir.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(time.mul_f32(rng.unit()));
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            // One that had ended already has not failed.
            let killed = output.status.code().is_none();
            assert!(killed || output.status.success(), "after {kills} kills: {}", text(&output.stderr));
            kills += u64::from(killed);
        }
        finish(dir.path(), "killed");
        same(&expected, &left(dir.path()), "killed");
    }
}

/// The library that makes changes of files fail.
#[cfg(target_os = "linux")]
pub fn faults(tools: &Path) -> PathBuf {
    let library = tools.join("faults.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu11", "-shared", "-fPIC", "-O1", "-w", source, "-ldl", "-o"]).arg(&library);
    assert!(compiler.status().expect("a C compiler").success());
    library
}

/// Each change of a file fails once, alone or for good, as on a full or a broken disk.
#[cfg(target_os = "linux")]
#[test]
fn whatever_cannot_be_written_a_run_ends_the_same() {
    let tools = tempfile::tempdir().unwrap();
    let library = faults(tools.path());
    let (expected, _) = whole();
    let attempt = |dir: &Path, at: u64, errno: &str, stays: bool| {
        let count = tools.path().join("count");
        let mut command = training(dir);
        command.env("LD_PRELOAD", &library).env("FAULT_COUNT", &count).env("FAULT_AT", at.to_string());
        command.env("FAULT_ERRNO", errno);
        if stays {
            command.env("FAULT_STAYS", "1");
        }
        let output = command.output().unwrap();
        (output, fs::read_to_string(count).map_or(0, |text| text.trim().parse::<u64>().unwrap()))
    };
    let dir = tempfile::tempdir().unwrap();
    let (output, changes) = attempt(dir.path(), 0, "0", false);
    assert!(output.status.success() && changes > 50, "{changes} changes: {}", text(&output.stderr));
    same(&expected, &left(dir.path()), "counted");

    let mut rng = LaneRng::new(12, 0);
    let (mut failed, most) = (0, 4 * attacks());
    for round in 0..most {
        // Spread over all changes, so that many rounds meet each of them.
        let at = 1 + (round * changes / most + rng.below((changes / most).max(1) as usize) as u64) % changes;
        let (errno, stays) = ([("28", "full"), ("5", "broken")][rng.below(2)], rng.below(2) == 0);
        let dir = tempfile::tempdir().unwrap();
        let (output, _) = attempt(dir.path(), at, errno.0, stays);
        let message = text(&output.stderr);
        let after = format!("change {at} of {changes}, {}, for good: {stays}", errno.1);
        assert!(!message.contains("panicked") && output.status.code().is_some(), "{after}: {message}");
        if !output.status.success() {
            failed += 1;
            assert!(message.starts_with("error: ") || message.contains("\nerror: "), "{after}: {message}");
            assert!(message.contains("os error"), "{after}: the cause is not named: {message}");
        }
        finish(dir.path(), &after);
        // The text of some games, which a run can do without, is missing where that was told.
        let told = message.contains("warning: ") && message.contains("run/games/");
        let counts = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
            files.into_iter().filter(|(name, _)| !(told && name.starts_with("games/"))).collect()
        };
        same(&counts(expected.clone()), &counts(left(dir.path())), &after);
    }
    assert!(failed * 2 > most, "{failed} of {most} were noticed");
}
