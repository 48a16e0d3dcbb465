//! The folder of a run: what may begin where, what stays in it, and what a run can do without.

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

/// Calls the program, and returns its exit code and all that it printed.
fn call(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = lockstep(dir, args);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Returns all files and folders below a folder, with what is in the files.
pub fn state(dir: &Path) -> Vec<(String, Vec<u8>)> {
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

fn checkpoints(run: &Path) -> Vec<u64> {
    let names = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut found: Vec<u64> = names.map(|name| name.to_str().unwrap().parse().expect("a generation")).collect();
    found.sort_unstable();
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

/// Which checkpoints stay depends on the newest generation, and not on where the run was stopped; all of them are
/// players, and without their games no more than that.
#[test]
fn checkpoints_are_spread_over_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let keys = ["run.checkpoint_every=2", "run.checkpoints=1", "run.keep_log=false", "replay.window=60"];
    let train = |run: &str, generations: u64| {
        let generations = format!("run.generations={generations}");
        let (code, printed) = call(path, &training(run, &[&keys[..], &[&generations]].concat()));
        assert_eq!(code, Some(0), "{printed}");
        checkpoints(&path.join(run))
    };
    assert_eq!(train("whole", 8), [2, 8]);
    assert_eq!(train("parts", 3), [2, 3]);
    assert_eq!(train("parts", 5), [2, 4, 5]);
    assert_eq!(train("parts", 8), [2, 8]);
    assert!(!path.join("whole/log/000001.games").exists());
    let (code, printed) = call(path, &["verify", "--run", "whole"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("checkpoint 2: loads and evaluates") && printed.contains("a player alone"), "{printed}");
    let (code, printed) = call(path, &["match", "whole", "whole@2", "--pairs", "2", "--simulations", "2"]);
    assert!(code == Some(0) && printed.contains("whole@2"), "{printed}");
    let (code, printed) = call(path, &["match", "--ladder", "--run", "whole", "--pairs", "2", "--simulations", "2"]);
    assert!(code == Some(0) && printed.contains("generation 2 "), "{printed}");

    fs::remove_dir_all(path.join("whole/checkpoints/8")).unwrap();
    let (code, printed) = call(path, &["train", "--run", "whole"]);
    assert_eq!(code, Some(2), "{printed}");
    for word in ["the log whole/log/00000", "generation 2", "run.keep_log", "no place to go on from", "--from"] {
        assert!(printed.contains(word), "'{word}' is missing in: {printed}");
    }
}

#[cfg(target_os = "linux")]
mod faults {
    use super::*;
    use crate::kills;
    use std::process::{Command, Stdio};

    const ERRORS: [(&str, &str); 5] =
        [("EIO", "5"), ("EACCES", "13"), ("EINVAL", "22"), ("ENOLCK", "37"), ("EOPNOTSUPP", "95")];

    /// A command of the program for which these calls of the system fail under these paths.
    struct Faulty {
        library: std::path::PathBuf,
        calls: &'static str,
        under: &'static str,
        error: &'static str,
    }

    impl Faulty {
        fn call(&self, dir: &Path, args: &[&str]) -> (Option<i32>, String) {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
            command.current_dir(dir).args(args).stdin(Stdio::null()).env("LD_PRELOAD", &self.library);
            let error = ERRORS.iter().find(|(name, _)| *name == self.error).unwrap().1;
            command.env("FAULT_AT", "1").env("FAULT_STAYS", "1").env("FAULT_ERRNO", error);
            command.env("FAULT_CALLS", self.calls);
            if !self.under.is_empty() {
                command.env("FAULT_UNDER", self.under);
            }
            let output = command.output().unwrap();
            (output.status.code(), text(&output.stderr))
        }
    }

    /// What cannot be removed, or is there for people and cannot be written, is told once and ends neither this run nor
    /// the next start of it.
    #[test]
    fn what_only_tidies_ends_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faulty {
            library: kills::faults(dir.path()),
            calls: "rename unlinkat unlink open",
            under: "run/checkpoints/2 run/checkpoints/.partial/x .removed-3 log/000001.games run/games/ run/verdict",
            error: "EACCES",
        };
        let keys = ["run.checkpoint_every=1", "run.checkpoints=1", "run.keep_log=false", "replay.window=40"];
        let run = dir.path().join("run");
        for (generations, stays) in [("run.generations=5", vec![1, 2, 4, 5]), ("run.generations=7", vec![1, 2, 4, 7])] {
            let (code, told) = faulty.call(dir.path(), &training("run", &[&keys[..], &[generations]].concat()));
            assert_eq!(code, Some(0), "{told}");
            for file in ["checkpoints/", "log/000001.", "games/", "verdict.partial"] {
                let lines = told.lines().filter(|line| line.starts_with("warning: ") && line.contains(file));
                assert_eq!(lines.count(), 1, "{file}: {told}");
            }
            assert!(told.lines().all(|line| line.starts_with("warning: ") && line.contains("os error 13")), "{told}");
            let mut there = fs::read_dir(run.join("checkpoints")).unwrap();
            assert!(there.any(|entry| entry.unwrap().file_name() == ".removed-3"), "it could be removed");
            // As a program leaves it that was killed.
            fs::create_dir_all(run.join("checkpoints/.partial/x")).unwrap();
            for generation in stays {
                assert!(run.join(format!("checkpoints/{generation}/manifest.json")).is_file(), "{generation}: {told}");
            }
        }
        // A later start tidies.
        let (code, printed) = call(dir.path(), &["train", "--run", "run"]);
        assert_eq!(code, Some(0), "{printed}");
        assert_eq!(checkpoints(&run), [1, 4, 7]);
        let (code, printed) = call(dir.path(), &["verify", "--run", "run"]);
        assert!(code == Some(0) && printed.contains("All of it is sound."), "{printed}");
    }

    /// Some file systems have no locks, or cannot sync files or folders: that is told, and no error. A disk that fails
    /// is one, and the line of a generation is on the disk before its checkpoint.
    #[test]
    fn a_file_system_need_not_lock_or_sync() {
        let dir = tempfile::tempdir().unwrap();
        let library = kills::faults(dir.path());
        let mut attempt = 0;
        let mut train = |calls, under, error| {
            let run = format!("run{attempt}");
            attempt += 1;
            let faulty = Faulty { library: library.clone(), calls, under, error };
            let (code, told) = faulty.call(dir.path(), &training(&run, &["run.generations=1"]));
            (code, told, dir.path().join(run).join("checkpoints/1").is_dir())
        };
        for (calls, error, words) in [
            ("flock", "ENOLCK", "cannot be locked (No locks available"),
            ("flock", "EOPNOTSUPP", "nothing keeps a second lockstep"),
            ("syncdir", "EINVAL", "run2/log cannot be synced (Invalid argument"),
            ("fsync syncdir", "EOPNOTSUPP", "cannot be synced"),
        ] {
            let (code, told, saved) = train(calls, "", error);
            assert!(code == Some(0) && saved, "{calls}: {told}");
            assert!(told.starts_with("warning: ") && told.lines().count() == 1 && told.contains(words), "{told}");
        }
        let (code, told, saved) = train("fsync", "metrics.jsonl", "EIO");
        assert!(code == Some(2) && !saved && told.contains("cannot sync run4/metrics.jsonl"), "{told}");
        let (code, told, saved) = train("syncdir", "/log", "EIO");
        assert!(code == Some(2) && !saved && told.contains("cannot sync run5/log"), "{told}");
    }
}
