//! What is stored says whether it is whole, to every reader, and can be made again.

use crate::{lockstep, resume::copy, text};
use ::lockstep::{
    AnyGame,
    folder::Folder,
    log::{Header, Log},
};
use lockstep_components::{LaneRng, games::TicTacToe};
use std::{
    fs,
    path::{Path, PathBuf},
};

const SETTINGS: [&str; 7] = [
    "run.generations=3",
    "run.games=20",
    "learn.schedule=constant",
    "run.checkpoint_every=1",
    "run.grade_simulations=1",
    "search.simulations=6",
    "network.channels=8",
];

fn train(dir: &Path, run: &str, more: &[&str]) {
    let mut args = vec!["train", "--run", run];
    SETTINGS.iter().for_each(|set| args.extend(["--set", set]));
    let output = lockstep(dir, &[&args[..], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Calls the program, and returns its exit code and all that it printed.
fn call(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = lockstep(dir, args);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn a_sound_run_is_verified_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &[]);
    let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("rounds 3 to 3 are the same, and so are the weights of generation 3"), "{printed}");
    let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay", "1"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("rounds 1 to 1 are the same, and so are the weights of generation 1"), "{printed}");
    // What cannot be asked for is nothing that is wrong with the run.
    let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay", "99"]);
    assert!(code == Some(2) && printed.contains("no round 99 in the log, whose last one is 3"), "{printed}");
    assert!(!printed.contains("WRONG") && !printed.contains("not sound"), "{printed}");
    train(dir.path(), "begun", &["--minutes", "0"]);
    let (code, printed) = call(dir.path(), &["verify", "--run", "begun", "--replay"]);
    assert!(code == Some(0) && printed.contains("replay: no round of the run has ended yet"), "{printed}");
    let (code, printed) = call(dir.path(), &["verify", "--run", "begun", "--replay", "1"]);
    assert!(code == Some(2) && !printed.contains("WRONG"), "{printed}");
}

/// What a replay needs is there, or is named as missing, and from which round on there is enough.
#[test]
fn what_a_replay_needs_is_kept_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let replay = |run: &str, round: &[&str]| call(dir.path(), &[&["verify", "--run", run, "--replay"], round].concat());
    let from = |printed: &str| {
        let number = printed.split_once("name a round from ").expect(printed).1.split_once(' ').unwrap().0;
        number.to_string()
    };
    train(dir.path(), "run", &[]);
    train(dir.path(), "given", &["--from", "run", "--set", "run.checkpoints=2"]);
    let (code, printed) = replay("given", &["1"]);
    assert!(code == Some(0) && printed.contains("rounds 1 to 1 are the same"), "{printed}");
    fs::remove_dir_all(dir.path().join("given/checkpoints/0")).unwrap();
    let (code, printed) = replay("given", &["1"]);
    assert!(code == Some(2) && printed.contains("what the run began with (--from) is gone"), "{printed}");
    assert!(!printed.contains("WRONG") && replay("given", &[&from(&printed)]).0 == Some(0), "{printed}");

    let thinned = ["--set", "run.keep_log=false", "--set", "replay.window=60", "--set", "run.generations=6"];
    train(dir.path(), "thinned", &[&thinned[..], &["--set", "run.checkpoints=2"]].concat());
    let (code, printed) = replay("thinned", &["1"]);
    assert!(code == Some(2) && printed.contains("round 1 cannot be played again: the games of round 1 are gone"));
    assert!(!printed.contains("WRONG") && replay("thinned", &[&from(&printed)]).0 == Some(0), "{printed}");
    // One that is lost out of the middle is another matter.
    fs::remove_file(dir.path().join("run/log/000002.games")).unwrap();
    let (code, printed) = replay("run", &[]);
    assert!(code == Some(2) && printed.contains("000002.games is not whole, there is missing"), "{printed}");
}

/// Removes the checkpoints of a run and all that tells of them, as if it had been killed early.
fn without_checkpoints(dir: &Path, run: &str) {
    let run = dir.join(run);
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    fs::create_dir(run.join("checkpoints")).unwrap();
    for file in ["metrics.jsonl", "verdict.jsonl", ".saved"] {
        fs::remove_file(run.join(file)).unwrap();
    }
}

/// Before the first checkpoint it is the log that knows what a run was begun with.
#[test]
fn games_of_other_settings_do_not_come_together() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "whole", &[]);
    copy(&dir.path().join("whole"), &dir.path().join("run"));
    without_checkpoints(dir.path(), "run");
    let file = dir.path().join("run/config.toml");
    let good = fs::read_to_string(&file).unwrap();
    for (key, own, other) in [
        ("run.seed", "seed = 1", "seed = 2"),
        ("lanes.leaves_per_tree", "leaves_per_tree = 1", "leaves_per_tree = 2"),
        ("network.channels", "channels = 8", "channels = 9"),
        ("run.lag", "lag = 1", "lag = 2"),
        ("learn.optimizer", "optimizer = \"adam_w\"", "optimizer = \"sgd\""),
    ] {
        let edited = good.replace(&format!("\n{own}\n"), &format!("\n{other}\n"));
        assert_ne!(edited, good, "{key}");
        fs::write(&file, edited).unwrap();
        for command in [&["train", "--run", "run"][..], &["verify", "--run", "run"]] {
            let (code, printed) = call(dir.path(), command);
            assert!(code == Some(2) && printed.contains(key), "{key}: {printed}");
            assert!(printed.contains("cannot change within a run"), "{key}: {printed}");
        }
        assert!(!dir.path().join("run/checkpoints/1").exists(), "{key}");
    }
    // Games of another run are none of this one, whatever config.toml says.
    fs::write(&file, &good).unwrap();
    train(dir.path(), "other", &["--seed", "2"]);
    let second = dir.path().join("run/log/000002.games");
    fs::copy(dir.path().join("other/log/000002.games"), &second).unwrap();
    let (code, printed) = call(dir.path(), &["train", "--run", "run"]);
    assert!(code == Some(2) && printed.contains("000002.games does not fit"), "{printed}");
    assert!(printed.contains("played with run.seed = 2, and those of the run with 1"), "{printed}");
    fs::remove_file(second).unwrap();
    // Without config.toml it goes on as what it is.
    for lost in ["before the first checkpoint", "after it"] {
        fs::remove_file(&file).unwrap();
        let (code, printed) = call(dir.path(), &["grade", "--run", "run"]);
        assert!(code == Some(2) && printed.contains("config.toml is gone"), "{lost}: {printed}");
        let mut args = vec!["train", "tictactoe", "--run", "run"];
        SETTINGS.iter().chain(&["run.seed=3"]).for_each(|set| args.extend(["--set", set]));
        let (code, printed) = call(dir.path(), &args);
        assert!(code == Some(2) && printed.contains("config.toml was gone"), "{lost}: {printed}");
        assert!(printed.contains("run.seed = 1, which cannot change within a run, and not 3"), "{lost}: {printed}");
        args.truncate(args.len() - 2);
        let (code, printed) = call(dir.path(), &args);
        assert_eq!(code, Some(0), "{lost}: {printed}");
    }
    for file in ["log/000002.games", "checkpoints/3/weights.safetensors", "config.toml"] {
        let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("run") == read("whole"), "{file} is another one");
    }
}

/// What nobody numbered is told, is nothing that is wrong, and takes no time.
#[test]
fn strange_names_are_no_rounds() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &[]);
    let log = dir.path().join("run/log");
    let first = fs::read(log.join("000001.games")).unwrap();
    let numbered = ["99999999999.games", "18446744073709551615.part", "000500.games", "000009.part"];
    let named = ["7.games", "+2.games", "000000.games", "notes.txt"];
    numbered.iter().chain(&named).for_each(|name| fs::write(log.join(name), &first).unwrap());
    fs::create_dir(dir.path().join("run/checkpoints/+5")).unwrap();
    let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay"]);
    assert!(code == Some(0) && printed.contains("rounds 3 to 3 are the same"), "{printed}");
    for name in numbered.iter().chain(&named) {
        assert!(printed.contains(&format!("log: {name} is no file of this run")), "{name}: {printed}");
    }
    let (code, printed) = call(dir.path(), &["train", "--run", "run", "--set", "run.generations=10"]);
    assert_eq!(code, Some(0), "{printed}");
    for name in numbered {
        let aside = log.join(format!("{name}.aside-1"));
        assert!(printed.contains(name) && fs::read(&aside).unwrap() == first, "{name}: {printed}");
    }
    // The same of a checkpoint, which nothing but a user can have made.
    fs::create_dir(dir.path().join("run/checkpoints/99999999999")).unwrap();
    for command in ["verify", "train"] {
        let (code, printed) = call(dir.path(), &[command, "--run", "run"]);
        assert!(code == Some(2) && printed.contains("checkpoints/99999999999 is not whole"), "{printed}");
    }
}

/// A run that trains is sound, whatever it writes and removes meanwhile.
#[test]
fn a_run_is_sound_while_it_trains() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &["--set", "run.keep_log=false", "--set", "run.checkpoints=1", "--set", "run.lag=2"]);
    let args = ["train", "--run", "run", "--threads", "1", "--set", "run.generations=80"];
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .current_dir(dir.path())
        .args(args)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut looks = 0;
    while child.try_wait().unwrap().is_none() || looks < 3 {
        let commands = [&["verify"][..], &["verify", "--replay"], &["grade", "--simulations", "1"]];
        let (code, printed) = call(dir.path(), &[commands[looks % 3], &["--run", "run", "--threads", "1"]].concat());
        assert!(code == Some(0) && !printed.contains("WRONG"), "look {looks}: {printed}");
        looks += 1;
    }
    assert!(child.wait().unwrap().success());
}

/// Settings stand at the head of every segment: they are bounded, and read whatever their length.
#[test]
fn a_segment_begins_with_all_of_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = |n: u64| {
        let at: Vec<String> = (1..=n).map(|generation| generation.to_string()).collect();
        let text = format!("[learn]\nschedule = {{ steps = {{ at = [{}], factor = 0.99 }} }}\n", at.join(", "));
        fs::write(dir.path().join("long.toml"), text).unwrap();
    };
    schedule(150_000);
    let (code, printed) = call(dir.path(), &["train", "--config", "long.toml", "--run", "run"]);
    let bound = "learn.schedule.steps.at = 150000 generations is out of range: it must be at most 1000";
    assert!(code == Some(2) && printed.contains(bound), "{}", &printed[printed.len().saturating_sub(300)..]);
    schedule(1_000);
    train(dir.path(), "run", &["--config", "long.toml"]);
    let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay"]);
    assert_eq!(code, Some(0), "{printed}");

    let folder = Folder::at(&dir.path().join("long"));
    folder.create().unwrap();
    let mut rng = LaneRng::new(23, 0);
    let settings: String = (0..2_000_000).map(|_| char::from(b'a' + rng.below(26) as u8)).collect();
    let header = Header::new(AnyGame::of::<TicTacToe>(), 1, settings);
    Log::of(&folder).finish(&header, &[]).unwrap();
    assert!(Log::of(&folder).first().unwrap().unwrap().1 == header);
}

/// A changed bit, a file that is cut off or one that is missing is found and named, in any file of the checkpoints and
/// of the log.
#[test]
fn whatever_is_damaged_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &[]);
    let mut rng = LaneRng::new(21, 0);
    let run = dir.path().join("run");
    let stored = [files(&run.join("checkpoints")), files(&run.join("log"))].concat();
    assert_eq!(stored.len(), 3 * 4 + 3);
    for path in stored {
        let good = fs::read(&path).unwrap();
        let in_checkpoint = path.to_str().unwrap().contains("checkpoints");
        for way in 0..3 {
            let mut bytes = good.clone();
            let at = rng.below(bytes.len());
            match way {
                0 => bytes[at] ^= 1 << rng.below(8),
                1 => bytes.truncate(at),
                _ => {}
            }
            if way < 2 {
                fs::write(&path, bytes).unwrap()
            } else {
                fs::remove_file(&path).unwrap()
            }
            let (code, printed) = call(dir.path(), &["verify", "--run", "run"]);
            let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let named = if in_checkpoint { format!("checkpoints/{folder} ") } else { path.display().to_string() };
            let named = named.strip_prefix(&format!("{}/", dir.path().display())).unwrap_or(&named).to_string();
            assert_eq!(code, Some(2), "{} byte {at}, way {way}: {printed}", path.display());
            let kind = if way < 2 { "is damaged" } else { "is not whole, there is missing" };
            assert!(printed.contains(&named) && printed.contains(kind), "{named} {kind}: {printed}");
            // Whoever reads only the weights looks at digests too.
            let name = path.file_name().unwrap().to_str().unwrap();
            if in_checkpoint && folder == "3" && name != "optimizer.bin" {
                let (code, printed) = call(dir.path(), &["grade", "--run", "run", "--simulations", "1"]);
                assert!(code == Some(2) && printed.contains(kind), "{printed}");
            }
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(call(dir.path(), &["verify", "--run", "run"]).0, Some(0));
    // The folder of another generation, and the segment of another round.
    let renamed =
        [("checkpoints/2", "checkpoints/7", "which is 2"), ("log/000003.games", "log/000004.games", "named 4")];
    for (from, to, word) in renamed {
        fs::rename(run.join(from), run.join(to)).unwrap();
        let (code, printed) = call(dir.path(), &["verify", "--run", "run"]);
        assert!(code == Some(2) && printed.contains(word), "{printed}");
        fs::rename(run.join(to), run.join(from)).unwrap();
    }
}

/// Files whose digests are right and that do not belong together end in errors, and in no panic.
#[test]
fn what_does_not_fit_together_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &[]);
    train(dir.path(), "other", &["--set", "network.channels=12"]);
    train(dir.path(), "sgd", &["--set", "learn.optimizer=sgd"]);
    let checkpoint = dir.path().join("run/checkpoints/3");
    let manifest = fs::read_to_string(checkpoint.join("manifest.json")).unwrap();
    for (from, name) in [
        ("other", "weights.safetensors"),
        ("other", "optimizer.bin"),
        ("sgd", "optimizer.bin"),
        ("other", "config.toml"),
    ] {
        let good = fs::read(checkpoint.join(name)).unwrap();
        let bytes = fs::read(dir.path().join(from).join("checkpoints/3").join(name)).unwrap();
        let mut forged: serde_json::Value = serde_json::from_str(manifest.lines().next().unwrap()).unwrap();
        forged["files"][name] = blake3::hash(&bytes).to_hex().as_str().into();
        let line = forged.to_string();
        let own = blake3::hash(line.as_bytes()).to_hex();
        fs::write(checkpoint.join("manifest.json"), format!("{line}\n{own}\n")).unwrap();
        fs::write(checkpoint.join(name), bytes).unwrap();
        let (code, printed) = call(dir.path(), &["train", "--run", "run", "--set", "run.generations=4"]);
        assert!(code == Some(2) && !printed.contains("panicked"), "{name} of {from}: {printed}");
        assert!(
            printed.contains("checkpoints/3") || printed.contains("network.channels"),
            "{name} of {from}: {printed}"
        );
        fs::write(checkpoint.join(name), good).unwrap();
        fs::write(checkpoint.join("manifest.json"), &manifest).unwrap();
    }
    let (code, printed) = call(dir.path(), &["train", "--run", "run", "--set", "run.generations=4"]);
    assert_eq!(code, Some(0), "{printed}");
}

/// A checkpoint as the versions before the log have written it is of another version, and not damaged.
#[test]
fn another_version_is_not_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &[]);
    let checkpoint = dir.path().join("run/checkpoints/3");
    fs::rename(checkpoint.join("manifest.json"), checkpoint.join("state.bin")).unwrap();
    let (code, printed) = call(dir.path(), &["train", "--run", "run"]);
    assert!(code == Some(2) && printed.contains("is of another version"), "{printed}");
    assert!(!printed.contains("damaged"), "{printed}");
}

/// Goes on with a run of two generations and kills it when some games of the third round have ended.
fn kill_in_round_3(dir: &Path) {
    let before = dir.join("before");
    copy(&dir.join("run"), &before);
    // On a busy machine the round may be over before this thread has seen it begin.
    for _ in 0..100 {
        fs::remove_dir_all(dir.join("run")).unwrap();
        copy(&before, &dir.join("run"));
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .current_dir(dir)
            .args(["train", "--run", "run", "--set", "run.generations=3", "--threads", "1", "--set", "lanes.count=1"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begun = || {
            let read = Log::of(&Folder::at(&dir.join("run"))).read(AnyGame::of::<TicTacToe>(), 3);
            read.is_ok_and(|segment| segment.is_some_and(|segment| !segment.whole && !segment.games.is_empty()))
        };
        while child.try_wait().unwrap().is_none() && !begun() {}
        child.kill().unwrap();
        child.wait().unwrap();
        if begun() {
            return fs::remove_dir_all(before).unwrap();
        }
    }
    panic!("it always ended too soon");
}

/// A round is played and learned as a whole with the settings that it has begun with.
#[test]
fn new_settings_wait_for_the_next_round() {
    let dir = tempfile::tempdir().unwrap();
    let window = ["--set", "replay.window=200"];
    train(dir.path(), "whole", &window);
    train(dir.path(), "run", &[&window[..], &["--set", "run.generations=2"]].concat());
    kill_in_round_3(dir.path());
    let mut args = vec!["train", "--run", "run"];
    for set in ["run.generations=4", "replay.window=40", "search.c_puct=4", "learn.learning_rate=0.1"] {
        args.extend(["--set", set]);
    }
    let (code, printed) = call(dir.path(), &args);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("Changed from generation 4 on") && printed.contains("search.c_puct"), "{printed}");
    for file in ["log/000003.games", "checkpoints/3/weights.safetensors"] {
        let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("run") == read("whole"), "{file} is another one");
    }
    let rounds = |round: u64| fs::read(dir.path().join(format!("run/log/{round:06}.games"))).unwrap();
    assert!(rounds(4) != rounds(3));
    let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay"]);
    assert_eq!(code, Some(0), "{printed}");
}

/// Rounds are played and learned again after a change of any key that may change, and what is learned then depends on
/// the log and not on where the run was stopped: on a larger window, another decay of weights and other numbers as
/// well.
#[test]
fn what_has_changed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let own =
        ["replay.window=200", "network.kind=resnet", "network.channels=32", "network.blocks=1", "run.checkpoints=9"];
    let own: Vec<&str> = own.iter().flat_map(|set| ["--set", set]).collect();
    train(dir.path(), "whole", &own);
    train(dir.path(), "run", &[&own[..], &["--set", "run.generations=2"]].concat());
    kill_in_round_3(dir.path());
    let mut args = vec!["train", "--run", "run"];
    let changed = ["replay.window=5000", "learn.weight_decay=0.9", "run.precision=f32", "search.fast_simulations=2"];
    changed.iter().chain(&["run.generations=6"]).for_each(|set| args.extend(["--set", set]));
    let (code, printed) = call(dir.path(), &args);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("Changed from generation 4 on"), "{printed}");
    let int16 = cfg!(target_arch = "x86_64") && std::is_x86_feature_detected!("avx2");
    assert!(!int16 || printed.contains("run.precision \"int16\" -> \"f32\""), "{printed}");
    for file in ["log/000003.games", "checkpoints/3/weights.safetensors"] {
        let read = |run: &str| fs::read(dir.path().join(run).join(file)).unwrap();
        assert!(read("run") == read("whole"), "{file} is another one");
    }
    // From the checkpoint before each, and from the beginning.
    for round in ["2", "3", "4", "5", "6"] {
        let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay", round]);
        assert!(code == Some(0) && printed.contains("and so are the weights"), "{round}: {printed}");
    }
    for generation in 1..6 {
        fs::remove_dir_all(dir.path().join(format!("run/checkpoints/{generation}"))).unwrap();
    }
    let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay"]);
    assert!(code == Some(0) && printed.contains("rounds 1 to 6 are the same, and so are the weights"), "{printed}");
}

/// A run that keeps only the games that it has a use for may be asked for more of them later, and for less.
#[test]
fn a_window_changes_over_games_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &["--set", "replay.window=100", "--set", "run.keep_log=false", "--set", "run.lag=2"]);
    let mut generations = 3;
    for window in [5_000, 5_000, 60, 60, 400] {
        generations += 2;
        let (window, generations) = (format!("replay.window={window}"), format!("run.generations={generations}"));
        let (code, printed) = call(dir.path(), &["train", "--run", "run", "--set", &window, "--set", &generations]);
        assert_eq!(code, Some(0), "{window}: {printed}");
        let (code, printed) = call(dir.path(), &["verify", "--run", "run", "--replay"]);
        assert_eq!(code, Some(0), "{window}: {printed}");
    }
    let kept = files(&dir.path().join("run/log")).len();
    assert!((3..12).contains(&kept), "{kept} rounds are kept");
}

/// A key that is changed back before the next checkpoint is written was changed nevertheless.
#[test]
fn a_change_and_its_end_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &["--set", "run.generations=2", "--set", "learn.learning_rate=0.002"]);
    for rate in ["0.1", "0.002"] {
        let set = format!("learn.learning_rate={rate}");
        let args = ["train", "--run", "run", "--minutes", "0", "--set", "run.generations=9", "--set", &set];
        let (code, printed) = call(dir.path(), &args);
        assert!(code == Some(0) && printed.contains(&format!("-> {rate}")), "{printed}");
    }
    let history = fs::read_to_string(dir.path().join("run/history.jsonl")).unwrap();
    let rates = history.lines().filter(|line| line.contains("learn.learning_rate")).count();
    assert_eq!(rates, 2, "{history}");
}

/// The end of a segment that was being written when the program was killed costs the game that it was part of, and
/// damage in the middle those behind it; they are played again and are the same.
#[test]
fn games_that_are_cut_off_are_played_again() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "whole", &[]);
    train(dir.path(), "run", &["--set", "run.generations=2"]);
    let whole = fs::read(dir.path().join("whole/log/000003.games")).unwrap();
    let part = dir.path().join("run/log/000003.part");
    for seed in 0..3 {
        kill_in_round_3(dir.path());
        let mut bytes = fs::read(&part).unwrap();
        let mut rng = LaneRng::new(22, seed);
        let at = bytes.len() - 1 - rng.below(300);
        if seed == 0 {
            bytes.truncate(at)
        } else {
            bytes[at] ^= 4
        }
        fs::write(&part, bytes).unwrap();
    }
    let (code, printed) = call(dir.path(), &["train", "--run", "run", "--set", "run.generations=3"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(fs::read(dir.path().join("run/log/000003.games")).unwrap() == whole, "other games");
    assert!(!part.exists());
}

#[test]
fn a_run_begins_from_the_weights_of_another() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "run", &[]);
    let weights = |run: &str, generation: u64| {
        fs::read(dir.path().join(format!("{run}/checkpoints/{generation}/weights.safetensors"))).unwrap()
    };
    train(dir.path(), "of_run", &["--from", "run", "--set", "run.checkpoints=9"]);
    train(dir.path(), "of_file", &["--from", "run/checkpoints/3/weights.safetensors"]);
    assert!(weights("of_run", 0) == weights("run", 3), "it does not begin where the other ended");
    assert!(weights("of_run", 3) == weights("of_file", 3) && weights("of_run", 3) != weights("run", 3));
    let refused = |args: &[&str], words: &[&str]| {
        let (code, printed) = call(dir.path(), args);
        assert_eq!(code, Some(2), "{printed}");
        words.iter().for_each(|word| assert!(printed.contains(word), "'{word}' is missing in: {printed}"));
    };
    refused(&["train", "--run", "run", "--from", "of_run"], &["there is a run here already"]);
    refused(&["train", "--run", "new", "--from", "run"], &["--from", "[network]"]);
    refused(&["train", "--run", "new", "--from", "run/config.toml"], &["run/config.toml", "no weights"]);
    refused(&["train", "--run", "new", "--from", "nowhere"], &["cannot read nowhere"]);
    assert!(!dir.path().join("new").exists());
}
