//! What a run promises whatever happens around it: bounded memory, settings that stay, no output that ends it, and no
//! unusable checkpoint.

use crate::{attacks, lockstep, small, text};
use lockstep::{
    checkpoint, device,
    folder::Folder,
    prelude::{AnyGame, ConnectFour, DeviceKind, GameInfo, Hooks, Learner, TicTacToe, Trainer},
    settings,
    systems::network::describe,
    trainer::Event,
};
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

const QUICK: [&str; 6] = [
    "run.games=40",
    "search.simulations=8",
    "network.channels=16",
    "lanes.count=16",
    "run.checkpoint_every=1",
    "search.cache_mb=1",
];

fn train(dir: &Path, run: &str, set: &[&str]) -> Output {
    let mut args = vec!["train", "--run", run];
    for set in set {
        args.extend(["--set", set]);
    }
    lockstep(dir, &args)
}

fn quick(dir: &Path, run: &str, set: &[&str]) -> Output {
    train(dir, run, &[&QUICK[..], set].concat())
}

fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Standard output on a full device, and as a pipe whose reader has left: the run goes on, ends and is saved.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_ends_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.current_dir(dir.path()).args(["train", "--run", name]);
        QUICK.iter().chain(&["run.generations=3"]).for_each(|set| {
            command.args(["--set", set]);
        });
        let child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert!(dir.path().join(name).join("checkpoints/3").is_dir(), "{name} was not saved");
        assert_eq!(metrics(&dir.path().join(name)).len(), 3);
        text(&output.stderr)
    };
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(run("full", full().into()).contains("standard output cannot be written"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(!run("closed", writer.into()).contains("panicked"));

    // The others have nothing but what they print: a code, and no panic.
    for args in [&["games"][..], &["grade", "--run", "full", "--simulations", "1"], &["play", "--run", "full"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        let output = command.current_dir(dir.path()).args(args).stdin(Stdio::null()).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("panicked"), "{args:?}: {}", text(&output.stderr));
    }
}

/// The command that a run prints goes on with the settings that it had, whatever they came from, and a recipe that was
/// edited in between does not take it over.
#[test]
fn a_run_keeps_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let stored = |key: &str| {
        let table: toml::Table = fs::read_to_string(path.join("a run/config.toml")).unwrap().parse().unwrap();
        let (section, key) = key.split_once('.').unwrap();
        table[section][key].to_string()
    };
    fs::write(path.join("mine.toml"), "[network]\nkind = \"mlp\"\n[search]\nc_puct = 2.5\n").unwrap();
    let mut args = vec!["train", "--config", "mine.toml", "--run", "a run"];
    for set in QUICK.iter().chain(&["run.generations=2", "search.c_puct=3"]) {
        args.extend(["--set", set]);
    }
    let first = lockstep(path, &args);
    assert!(first.status.success(), "{}", text(&first.stderr));
    // Finished: the command for more of it is complete and quoted.
    let again = text(&lockstep(path, &["train", "--run", "a run"]).stdout);
    assert!(again.contains("lockstep train --run 'a run' --set run.generations=4"), "{again}");
    // Looked at with other settings: nothing was trained with them, so nothing is kept of them.
    let before = fs::read(path.join("a run/config.toml")).unwrap();
    let looked = lockstep(path, &["train", "--run", "a run", "--set", "search.c_puct=1"]);
    assert!(text(&looked.stderr).contains("search.c_puct = 3.0, and not 1.0"), "{}", text(&looked.stderr));
    assert_eq!(fs::read(path.join("a run/config.toml")).unwrap(), before);
    // An edited recipe: said, and not followed.
    fs::write(path.join("mine.toml"), "[network]\nkind = \"mlp\"\n[search]\nc_puct = 0.5\n").unwrap();
    let args = ["train", "--config", "mine.toml", "--run", "a run", "--set", "run.generations=3", "--set"];
    let args =
        [&args[..], &["network.channels=16", "--set", "lanes.count=16", "--set", "search.simulations=8"]].concat();
    let longer = lockstep(path, &args);
    assert!(longer.status.success(), "{}", text(&longer.stderr));
    let told = text(&longer.stderr);
    assert!(told.contains("keeps its own settings") && told.contains("search.c_puct = 3.0"), "{told}");
    assert!(text(&longer.stdout).contains("run.generations 2 -> 3"), "{}", text(&longer.stdout));
    assert_eq!(stored("search.c_puct"), "3.0");
    // What the command line names is changed, shown and recorded with its generation.
    let changed = train(path, "a run", &["search.c_puct=1.25", "run.generations=4", "run.threads=1"]);
    let printed = text(&changed.stdout);
    assert!(
        printed.contains("Changed from generation 4 on: ") && printed.contains("search.c_puct 3.0 -> 1.25"),
        "{printed}"
    );
    assert_eq!(stored("search.c_puct"), "1.25");
    let history = fs::read_to_string(path.join("a run/history.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line =
        |key: &str, generation: u64| lines.iter().any(|line| line["key"] == key && line["generation"] == generation);
    assert!(line("search.c_puct", 4) && line("run.generations", 3) && line("run.generations", 4), "{history}");
    assert!(!history.contains("threads"), "{history}");

    // What cannot change is held against the checkpoint, not against the file that anybody can edit.
    let edited = fs::read_to_string(path.join("a run/config.toml")).unwrap().replace("channels = 16", "channels = 24");
    fs::write(path.join("a run/config.toml"), edited).unwrap();
    let refused = train(path, "a run", &["run.generations=9"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    assert!(message.contains("network.channels = 16") && message.contains("not 24"), "{message}");
}

/// A run that is made longer keeps its curve and stays at the last rate.
#[test]
fn a_longer_run_keeps_its_learning_rate() {
    let dir = tempfile::tempdir().unwrap();
    let schedule = "learn.schedule={ cosine = { warm_up = 1, last = 0.05 } }";
    let rates = |from: usize| -> Vec<f64> {
        let lines = metrics(&dir.path().join("run"));
        lines[from..].iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect()
    };
    assert!(quick(dir.path(), "run", &["run.generations=4", schedule, "learn.learning_rate=0.01"]).status.success());
    let last = rates(3)[0];
    assert!(train(dir.path(), "run", &["run.generations=7"]).status.success());
    assert!(rates(4).iter().all(|&rate| (rate - 0.0005).abs() < 1e-9 && rate <= last), "{last} {:?}", rates(0));
    // A new schedule in the same command spans the whole of the longer run.
    assert!(train(dir.path(), "run", &["run.generations=9", schedule]).status.success());
    assert!(rates(7)[0] > 0.0005, "{:?}", rates(0));
}

/// Weights or running statistics that are not finite, and weights whose evaluation is not, are no checkpoint; the last
/// good one stays.
#[test]
fn a_diverged_network_is_never_saved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(dir.path());
    folder.create().unwrap();
    let config = small(&["network.kind=resnet", "network.blocks=1", "run.checkpoints=1", "learn.gradient_clip=0"]);
    let place = device::place(DeviceKind::Cpu).unwrap();
    let mut run = Trainer::new(AnyGame::of::<TicTacToe>(), &config, &place, &Hooks::default());
    let finish = |run: &mut Trainer| while !matches!(run.advance().unwrap(), Event::Generation(..)) {};
    finish(&mut run);
    run.save(&folder).unwrap();
    finish(&mut run);
    let sound = run.learning.resource::<Learner>().network.tensors();
    for (name, value) in [
        ("policy.weight", f32::NAN),
        ("stem.norm.running_var", f32::INFINITY),
        ("stem.norm.running_mean", f32::NAN),
        ("value_hidden.weight", 3e38),
    ] {
        let mut tensors = sound.clone();
        let tensor = tensors.iter_mut().find(|tensor| tensor.name.ends_with(name)).expect(name);
        tensor.data.fill(value);
        let mut learner = run.learning.resource_mut::<Learner>();
        learner.network = learner.network.with_tensors(tensors).unwrap();
        let message = run.save(&folder).unwrap_err().to_string();
        assert!(message.contains("diverged") && message.contains("after generation 2"), "{name}: {message}");
        assert!(message.contains("learn.gradient_clip = 5"), "the advice does not fit: {message}");
        assert_eq!(checkpoint::generations(&folder).unwrap(), [1], "{name}");
    }
    let mut learner = run.learning.resource_mut::<Learner>();
    learner.network = learner.network.with_tensors(sound).unwrap();
    run.save(&folder).unwrap();
    assert_eq!(checkpoint::generations(&folder).unwrap(), [1, 2]);
}

/// What cannot fit is refused before anything is made, with the keys to lower.
#[test]
fn what_does_not_fit_is_refused_first() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |args: &[&str], words: &[&str]| {
        let output = lockstep(dir.path(), args);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{args:?}: '{word}' is missing in: {message}");
        }
    };
    let set = |keys: &[&'static str]| -> Vec<&str> {
        [&["train", "--run", "run"][..], &keys.iter().flat_map(|key| ["--set", *key]).collect::<Vec<_>>()].concat()
    };
    refused(&set(&["search.simulations=1000000", "lanes.count=65536"]), &["this needs up to", "search.simulations"]);
    refused(&set(&["replay.window=470000000"]), &["this needs up to", "lower replay.window"]);
    refused(&set(&["search.cache_mb=1000000"]), &["this needs up to", "lower search.cache_mb"]);
    refused(&set(&["network.channels=4096", "network.blocks=100", "network.kind=resnet"]), &["lower network.channels"]);
    refused(&["bench", "search", "--lanes", "65536", "--simulations", "1000000"], &["this needs up to", "simulations"]);
    refused(&["label", "connect_four", "--table", "1000000", "--threads", "2"], &["solving positions", "--table"]);
    assert!(!dir.path().join("run").exists(), "a refused run leaves a folder");
}

/// Under a limit on its memory a program takes fewer trees at once, or says what it needs; it never aborts.
#[cfg(target_os = "linux")]
#[test]
fn under_a_memory_limit_nothing_aborts() {
    let dir = tempfile::tempdir().unwrap();
    assert!(quick(dir.path(), "run", &["run.generations=1"]).status.success());
    let limited = |args: &str| {
        let command = format!("ulimit -v 1500000; exec '{}' {args}", env!("CARGO_BIN_EXE_lockstep"));
        let output = Command::new("bash").current_dir(dir.path()).args(["-c", &command]).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(limited("grade --run run --simulations 100000 --threads 2").0, Some(0));
    assert_eq!(
        limited("match uniform uniform --game gomoku --leaves 256 --pairs 1 --simulations 256 --threads 2").0,
        Some(0)
    );
    for (command, key) in [
        ("bench train --batch 1000000", "learn.batch_size"),
        ("bench network --batch 1000000", "learn.batch_size"),
        ("bench search --lanes 65536 --simulations 2 --set lanes.leaves_per_tree=256", "of leaves"),
        (
            "train --run other --set network.kind=resnet --set network.squeeze=4 --set learn.batch_size=30000",
            "learn.accumulation",
        ),
    ] {
        let (code, message) = limited(command);
        assert!(
            code == Some(2) && message.contains("ulimit -v") && message.contains(key),
            "{command}: {code:?} {message}"
        );
    }
    let (code, message) =
        limited("train --run other --threads 2 --set lanes.count=4096 --set search.simulations=10000");
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("ulimit -v") && message.contains("search.simulations"), "{message}");
}

/// Whatever the limit, a command that takes a large network does its work or says what it needs.
#[cfg(target_os = "linux")]
#[test]
fn no_memory_limit_aborts_a_large_network() {
    let dir = tempfile::tempdir().unwrap();
    let set = "network.kind=resnet network.channels=256 network.blocks=4 game.name=connect_four run.games=2 \
               search.simulations=2 lanes.count=2 run.generations=1 learn.batch_size=8 search.cache_mb=1 replay.window=1000";
    let set: Vec<&str> = set.split_whitespace().collect();
    let config = small(&set);
    // It has learned nothing, and is there at once.
    let folder = Folder::at(&dir.path().join("run"));
    folder.create().unwrap();
    fs::write(folder.config(), settings::to_text(&config)).unwrap();
    Trainer::new(AnyGame::of::<ConnectFour>(), &config, &device::place(DeviceKind::Cpu).unwrap(), &Hooks::default())
        .save(&folder)
        .unwrap();
    let positions = "set,moves,score,scores\nend,2 1 7 7 3 4 2 6 6 7 1 5 5 6 3,-1,1=-1 2=-1 3=-1 4=-1 5=-1 6=-1 7=-1\n";
    fs::write(dir.path().join("positions.csv"), positions).unwrap();
    let set: String = set.iter().map(|set| format!(" --set {set}")).collect();
    let weights = "run/checkpoints/0/weights.safetensors";
    let commands = [
        "grade --run run --network-only --positions positions.csv".to_string(),
        "grade --run run --accuracy --positions positions.csv".into(),
        "play --run run --simulations 2".into(),
        format!("match run {weights} --pairs 1 --simulations 1 --opening-plies 30"),
        "verify --run run".into(),
        "bench selfplay --game connect_four --channels 256 --blocks 4 --lanes 4 --simulations 2 --seconds 0.01".into(),
        "bench train --game connect_four --channels 256 --blocks 4 --batch 8 --seconds 0.01".into(),
        format!("train --run other --from {weights}{set}"),
        "train --run run".into(),
    ];
    let (mut refused, mut done, limits) = (0, 0, 3 * attacks());
    for (number, command) in commands.iter().enumerate() {
        for limit in 0..limits {
            // Other ones for each command, from 60 to 900 MB.
            let kilobytes = 60_000 + 840_000 * (limit * 9 + number as u64) / (9 * limits);
            let program = env!("CARGO_BIN_EXE_lockstep");
            let command = format!("ulimit -v {kilobytes}; exec '{program}' {command} --threads 2");
            let output = Command::new("bash").current_dir(dir.path()).args(["-c", &command]).output().unwrap();
            let (code, message) = (output.status.code(), text(&output.stderr));
            match code {
                Some(0) => done += 1,
                Some(2) if message.contains("ulimit -v") || message.contains("threads") => refused += 1,
                _ => panic!("{command}: {code:?} {message}"),
            }
        }
    }
    assert!(refused > done && done > 0, "{done} done, {refused} refused");
}

/// What a file of weights says of its network is held against its tensors before such a network is made.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_weights_is_no_larger_than_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = small(&["network.kind=mlp", "network.channels=8"]);
    let folder = Folder::at(&dir.path().join("run"));
    folder.create().unwrap();
    Trainer::new(AnyGame::of::<TicTacToe>(), &config, &device::place(DeviceKind::Cpu).unwrap(), &Hooks::default())
        .save(&folder)
        .unwrap();
    // A header with its length in front of it, and the numbers of the tensors.
    let file = fs::read(dir.path().join("run/checkpoints/0/weights.safetensors")).unwrap();
    let length = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&file[8..length]).unwrap();
    let large = small(&["network.kind=resnet", "network.channels=4096", "network.blocks=100"]);
    let about = header["__metadata__"]["lockstep"].as_str().unwrap();
    let mut about: checkpoint::About = serde_json::from_str(about).unwrap();
    (about.network, about.settings) =
        (describe(&GameInfo::of::<TicTacToe>(), &large.network), settings::of_player(&large));
    header["__metadata__"]["lockstep"] = serde_json::to_string(&about).unwrap().into();
    let header = header.to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &file[length..]].concat();
    fs::write(dir.path().join("large.safetensors"), file).unwrap();
    let positions = "set,moves,score,scores\nend,5 1,0,2=0 3=0\n";
    fs::write(dir.path().join("positions.csv"), positions).unwrap();
    for command in [
        "grade --run large.safetensors --positions positions.csv",
        "grade --run large.safetensors --positions positions.csv --accuracy",
        "play --run large.safetensors",
        "match large.safetensors uniform",
    ] {
        let command = format!("ulimit -v 1500000; exec '{}' {command}", env!("CARGO_BIN_EXE_lockstep"));
        let output = Command::new("bash").current_dir(dir.path()).args(["-c", &command]).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {message}");
        assert!(message.contains("it is no player") && message.contains("stem.conv.weight"), "{command}: {message}");
    }
}

/// Thousands of steps take no more memory than the first ones, and no more than was printed.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_within_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let steps = ["learn.steps={ batches = 700 }", "learn.batch_size=32", "run.generations=6", "run.checkpoint_every=2"];
    let output = quick(dir.path(), "run", &[&steps[..], &["network.kind=resnet", "network.blocks=1"]].concat());
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let bound = printed.split_once("Memory at most ").unwrap().1.split_once(" MB").unwrap().0.parse::<f64>().unwrap();
    let resident: Vec<f64> =
        metrics(&dir.path().join("run")).iter().map(|line| line["resident"].as_f64().unwrap() / 1e6).collect();
    let [first, last] = [resident[1], resident[5]];
    // 2,800 steps lie between them; a leak of one small tensor in each would take more.
    assert!(first > 5.0 && last - first < 3.0, "{resident:?}");
    assert!(resident.iter().all(|&now| now <= bound), "{resident:?}, at most {bound}");
    // A bound that is far above what is ever used would promise nothing.
    assert!(bound < 2.5 * last, "{resident:?}, at most {bound}");

    // The least network on many threads: what each of these takes is counted.
    let set = "network.kind=mlp network.channels=1 network.length_head=true replay.window=1000 run.threads=64 run.generations=2";
    let set: Vec<&str> = set.split_whitespace().collect();
    assert!(quick(dir.path(), "threads", &set).status.success());
    for line in metrics(&dir.path().join("threads")) {
        let [most, bound] = ["resident", "bound"].map(|key| line["machine"][key].as_u64().unwrap());
        assert!(0 < most && most <= bound, "{most} of {bound} bytes");
    }
}

/// A measurement reports what it measured.
#[test]
fn benches_report_what_they_measured() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["bench", "selfplay", "--json", "--threads", "1", "--seconds", "0.01", "--game", "tictactoe"];
    let set = ["lanes.count=3", "network.kind=mlp", "network.channels=8", "search.simulations=7"];
    let set: Vec<&str> = set.iter().flat_map(|key| ["--set", key]).collect();
    let output = lockstep(dir.path(), &[&args[..], &set].concat());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((line["lanes"].as_u64(), line["simulations"].as_u64()), (Some(3), Some(7)), "{line}");
    assert_eq!((line["network"].as_str(), line["channels"].as_u64()), (Some("mlp"), Some(8)), "{line}");
    let slow = ["bench", "search", "--json", "--threads", "1", "--seconds", "0.001", "--simulations", "200000"];
    let output = lockstep(dir.path(), &[&slow[..], &["--lanes", "2", "--set", "lanes.cohort=1"]].concat());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(line.get("games_per_second").is_none() && text(&output.stderr).contains("No game ended"), "{line}");
}

/// On any terminal, one that cannot redraw lines or has no width included, the lines of the generations are there, and
/// stay when the run ends.
#[cfg(target_os = "linux")]
#[test]
fn every_terminal_shows_the_generations() {
    let dir = tempfile::tempdir().unwrap();
    let set: String = QUICK.iter().chain(&["run.generations=2"]).map(|set| format!(" --set {set}")).collect();
    for (name, terminal) in [
        ("dumb", "export TERM=dumb"),
        ("unset", "unset TERM"),
        ("narrow", "export TERM=xterm; stty cols 1 rows 40"),
        ("usual", "export TERM=xterm; stty cols 120 rows 40"),
    ] {
        let shown = crate::on_terminal(dir.path(), &format!("{terminal}; exec '{{lockstep}}' train --run {name}{set}"));
        for words in ["generation 1/2", "generation 2/2", "Trained 2 generations"] {
            assert!(shown.contains(words), "{name}: '{words}' is missing in:\n{shown}");
        }
    }
}
