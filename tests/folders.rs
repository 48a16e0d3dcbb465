//! The folder of a run: what may begin where.

use crate::{lockstep, text};
use std::{fs, path::Path};

const QUICK: [&str; 6] = [
    "run.games=20",
    "run.grade_simulations=1",
    "search.simulations=6",
    "search.cache_mb=1",
    "network.channels=8",
    "lanes.count=16",
];

fn training<'a>(run: &'a str, set: &[&'a str]) -> Vec<&'a str> {
    let set = QUICK.iter().chain(set).flat_map(|set| ["--set", set]);
    ["train", "--run", run].into_iter().chain(set).collect()
}

/// The code, and all that was printed.
fn call(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = lockstep(dir, args);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// All files and folders, with what is in the files.
fn state(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_dir = path.is_dir() && !path.is_symlink();
        found.push((path.display().to_string(), if path.is_file() { fs::read(&path).unwrap() } else { vec![] }));
        if is_dir {
            found.extend(state(&path));
        }
    }
    found.sort();
    found
}

/// No command takes a checkpoint for a run, and nothing begins in the folder of either, whatever way leads there.
#[cfg(unix)]
#[test]
fn a_checkpoint_is_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    // Files and folders of these names are no run yet.
    fs::write(path.join("config.toml"), "").unwrap();
    fs::create_dir(path.join("log")).unwrap();
    let (code, printed) = call(path, &training("run", &["run.generations=2", "run.checkpoint_every=1"]));
    assert_eq!(code, Some(0), "{printed}");
    crate::resume::copy(&path.join("run/checkpoints/2"), &path.join("copied"));
    std::os::unix::fs::symlink("run/checkpoints", path.join("link")).unwrap();
    let before = state(path);
    let refused = |from: &Path, args: &[&str], words: &[&str]| {
        let (code, printed) = call(from, args);
        assert_eq!(code, Some(2), "{args:?}: {printed}");
        words.iter().for_each(|word| assert!(printed.contains(word), "{args:?}: '{word}' is missing in: {printed}"));
        assert!(state(path) == before, "{args:?} has written something");
    };

    let words = ["a checkpoint of the run run", "--run run,", "--from run/checkpoints/2/weights.safetensors"];
    for run in ["run/checkpoints/2", "run/checkpoints/../checkpoints/2", "link/2"] {
        refused(path, &["train", "--run", run], &words);
        refused(path, &training(run, &["run.generations=3"]), &words);
        refused(path, &["train", "--run", "new", "--from", run], &words);
        for command in ["verify", "grade", "play", "doctor"] {
            refused(path, &[command, "--run", run], &words);
        }
        refused(path, &["match", run, "uniform"], &words);
        refused(path, &["match", "--ladder", "--run", run], &words);
    }
    refused(path, &["grade", "--run", "copied"], &["is a checkpoint, and", "--from copied/weights.safetensors"]);
    refused(path, &["train", "--run", "copied/x"], &["lies in a checkpoint, and"]);
    refused(path, &["train", "--run", "link/2/x"], &["lies in a checkpoint of the run run"]);
    for inside in ["run/log", "run/checkpoints", "run/x", "run/x/../y/z", "link/7", "run/games/x"] {
        refused(path, &["train", "--run", inside], &["the folder of the run run", "--run run)"]);
        refused(path, &training(inside, &[]), &["the folder of the run run", "--run run)"]);
    }
    refused(path, &["verify", "--run", "run/log"], &["the folder of the run run", "--run run)"]);
    // Where the shell stands counts as well.
    refused(&path.join("run"), &["train"], &["the folder of the run .", "--run .)"]);
    refused(&path.join("run/checkpoints/2"), &["train", "--run", "."], &["--from weights.safetensors"]);
    // What the messages name works.
    let weights = ["--from", "run/checkpoints/2/weights.safetensors"];
    let (code, printed) = call(path, &[&training("new", &["run.generations=1"])[..], &weights].concat());
    assert_eq!(code, Some(0), "{printed}");
}
