//! The program as a user meets it: exit codes, messages, and what is left on disk.

use crate::{lockstep, text};
use lockstep::{
    device,
    settings::{self, Source},
};
use lockstep_systems::Level;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

/// Calls the program, which must fail with code 2 and one message that has all of these words.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let output = lockstep(dir, args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(message.starts_with("error: ") && !message.contains("panicked"), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: '{word}' is missing in: {message}");
    }
}

const QUICK: [&str; 8] = [
    "--set",
    "run.generations=2",
    "--set",
    "run.games=40",
    "--set",
    "search.simulations=8",
    "--set",
    "network.channels=16",
];

fn train(dir: &Path, more: &[&str]) -> Output {
    lockstep(dir, &[&["train", "--run", "run"], &QUICK[..], more].concat())
}

/// Returns all files of a folder with their contents.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Products in 16 bits, with weights and losses in 32, are enough to learn perfect play.
#[test]
fn half_precision_learns_to_play_perfectly() {
    let dir = tempfile::tempdir().unwrap();
    let output = lockstep(dir.path(), &["train", "--set", "learn.precision=bf16"]);
    let (shown, told) = (text(&output.stdout), text(&output.stderr));
    assert!(told.contains("burn trains this network") && told.contains("learn.precision"), "{told}");
    assert!(shown.contains("Perfect"), "{shown}{told}");
    let changed = lockstep(dir.path(), &["train", "--set", "learn.precision=f32"]);
    assert!(text(&changed.stderr).contains("learn.precision"), "{}", text(&changed.stderr));
}

/// Advice is printed once, kept, and listed; a run that is well used gets none.
#[test]
fn a_run_with_too_many_threads_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let none = text(&lockstep(dir.path(), &["doctor", "--run", "run"]).stderr);
    assert!(none.contains("there is no run here"), "{none}");
    let output = train(dir.path(), &["--threads", "64"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(shown.matches("advice (too_many_threads): 64 threads share").count(), 1, "{shown}");
    assert!(shown.contains("Rehearsed: "), "{shown}");
    let listed = text(&lockstep(dir.path(), &["doctor", "--run", "run"]).stdout);
    assert!(listed.contains("too_many_threads (now; in 2 of 2 generations)"), "{listed}");
    assert!(listed.contains("run.threads = 0"), "{listed}");
    let json = text(&lockstep(dir.path(), &["doctor", "--run", "run", "--json"]).stdout);
    let rules: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rules.iter().any(|rule| rule["rule"] == "too_many_threads" && rule["generations"] == 2), "{json}");
}

/// A folder that takes no file is found out first.
#[cfg(target_os = "linux")]
#[test]
fn tune_tries_its_file_before_it_measures() {
    let dir = tempfile::tempdir().unwrap();
    let output = lockstep(dir.path(), &["tune", "--minutes", "0.02", "--out", "/proc/tuned.toml"]);
    let message = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{message}");
    assert!(message.contains("/proc/tuned.toml") && message.contains("--out"), "{message}");
}

/// What `tune` writes is a recipe, which gives the same run up to what it was told to change.
#[test]
fn tuned_settings_train() {
    let dir = tempfile::tempdir().unwrap();
    let tune = ["tune", "--minutes", "0.02", "--out", "mine.toml"];
    let output = lockstep(dir.path(), &tune);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(shown.contains("will take about") && shown.contains("from what the recipe takes"), "{shown}");
    let quick = ["train", "--config", "mine.toml", "--set", "run.generations=1", "--run", "run"];
    assert!(lockstep(dir.path(), &quick).status.success());
    refused(dir.path(), &tune, &["mine.toml", "--out"]);
    // It says how sure it is, and what is not clearly better stays; no cohort is larger than the lanes.
    assert!(shown.contains("times as many (+- "), "{shown}");
    let key = |line: &str| line.split(" = ").next().unwrap().to_string();
    let stays = |key: &str| shown.lines().any(|line| line.starts_with(&format!("{key} stays ")));
    let tuned = fs::read_to_string(dir.path().join("mine.toml")).unwrap();
    let recipe = text(&lockstep(dir.path(), &["config", "show", "tictactoe"]).stdout);
    for name in ["count", "cohort", "leaves_per_tree", "cache_mb"] {
        let value = |text: &str| text.lines().find(|line| key(line) == name).map(String::from);
        let section = if name == "cache_mb" { "search" } else { "lanes" };
        assert!(!stays(&format!("{section}.{name}")) || value(&tuned) == value(&recipe), "{shown}{tuned}");
    }
    let lanes = shown.lines().filter_map(|line| line.strip_prefix("lanes.cohort = "));
    assert!(lanes.clone().count() > 0);
    let table: toml::Table = tuned.parse().unwrap();
    let most = table["lanes"]["count"].as_integer().unwrap();
    for line in lanes {
        assert!(line.split(':').next().unwrap().parse::<i64>().unwrap() <= most, "{shown}");
    }
    let guess = ["tune", "--minutes", "0.02", "--out", "other.toml", "--set", "search.simulations=16"];
    assert!(text(&lockstep(dir.path(), &guess).stdout).contains("rough guess"));
}

#[test]
fn accuracy_is_graded_in_every_precision() {
    let dir = tempfile::tempdir().unwrap();
    let json = |args: &[&str]| -> Vec<serde_json::Value> {
        let printed = text(&lockstep(dir.path(), &[args, &["--accuracy", "--json"]].concat()).stdout);
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert!(train(dir.path(), &["--set", "network.kind=resnet"]).status.success());
    let lines = json(&["grade", "--run", "run"]);
    let expected = [("f32", 1e-4, 0), ("int16", 1e-2, 22)];
    assert_eq!(lines.len(), if Level::default().has_fast_integers() { 2 } else { 1 });
    for (line, (precision, close, differ)) in lines.iter().zip(expected) {
        assert_eq!(line["precision"], precision);
        for errors in [&line["logits"], &line["values"]] {
            let [rms, most] = ["rms", "most"].map(|key| errors[key].as_f64().unwrap());
            assert!(0.0 < rms && rms <= most && most < close, "{line}");
        }
        assert!(line["same_move"].as_u64().unwrap() + differ >= 4520, "{line}");
    }
    if let [f32, int16] = &lines[..] {
        let [f32, int16] = [f32, int16].map(|line| line["logits"]["rms"].as_f64().unwrap());
        assert!(int16 > 10.0 * f32, "16-bit integers are off by {int16}, f32 by {f32}");
    }
    let table = text(&lockstep(dir.path(), &["grade", "--run", "run", "--accuracy"]).stdout);
    assert!(
        table.contains("f32") && table.contains("4520 positions") && table.contains("logits off, rms/most"),
        "{table}"
    );

    // Gates and a third head are computed by the kernels, in all their precisions.
    let gated = ["network.kind=resnet", "network.squeeze=4", "network.length_head=true"].map(|key| ["--set", key]);
    let squeezed = lockstep(dir.path(), &[&["train", "--run", "squeezed"], &QUICK[..], gated.as_flattened()].concat());
    assert!(squeezed.status.success() && !text(&squeezed.stderr).contains("burn"), "{}", text(&squeezed.stderr));
    let metrics = fs::read_to_string(dir.path().join("squeezed/metrics.jsonl")).unwrap();
    assert!(metrics.lines().all(|line| line.contains("\"other_losses\":{\"length\":0.")), "{metrics}");
    let squeezed = json(&["grade", "--run", "squeezed"]);
    assert!(squeezed.len() == lines.len() && squeezed[0]["logits"]["most"].as_f64().unwrap() < 1e-4, "{squeezed:?}");

    // Perceptrons are always f32.
    assert!(lockstep(dir.path(), &[&["train", "--run", "mlp"], &QUICK[..]].concat()).status.success());
    assert_eq!(json(&["grade", "--run", "mlp"]).len(), 1);
}

/// What is not a number agrees with nothing.
#[test]
fn a_network_that_overflows_is_not_accurate() {
    let dir = tempfile::tempdir().unwrap();
    let accuracy = |weight: f32, blocks: &str| {
        let run = format!("run{blocks}");
        let blocks = format!("network.blocks={blocks}");
        assert!(
            lockstep(dir.path(), &[&["train", "--run", &run], &QUICK[..], &["--set", &blocks]].concat())
                .status
                .success()
        );
        let mut bytes = fs::read(dir.path().join(run).join("checkpoints/2/weights.safetensors")).unwrap();
        let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[data..].chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&weight.to_le_bytes()));
        fs::write(dir.path().join("large.safetensors"), bytes).unwrap();
        lockstep(dir.path(), &["grade", "--run", "large.safetensors", "--accuracy", "--json"])
    };
    let output = accuracy(1e30, "2");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((line["same_move"].as_u64(), line["logits"]["rms"].as_str()), (Some(0), Some("inf")), "{line}");
    let output = accuracy(1e30, "12");
    let message = text(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("not finite in 4520 of 4520"), "{message}");
}

#[test]
fn train_resume_grade_and_play() {
    let dir = tempfile::tempdir().unwrap();
    let output = train(dir.path(), &[]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for words in ["Memory at most", "generation 2/2", "decisions", "lines_of_play", "lockstep play --run run"] {
        assert!(printed.contains(words), "'{words}' is missing in:\n{printed}");
    }
    let run = dir.path().join("run");
    for file in
        ["config.toml", "metrics.jsonl", "verdict.jsonl", "games/000001.txt", "checkpoints/2/weights.safetensors"]
    {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    for line in fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let metrics: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in
            ["simulations", "evaluations", "policy_loss", "policy_floor", "value_loss", "policy_entropy", "mean_depth"]
        {
            assert!(metrics[key].as_f64().unwrap() > 0.0, "{key} in {line}");
        }
    }

    // Again: finished. It says so, repeats the verdict, and changes nothing.
    let before = files(&run);
    let again = text(&lockstep(dir.path(), &["train", "--run", "run"]).stdout);
    assert!(
        again.contains("is finished") && again.contains("decisions") && again.contains("run.generations=4"),
        "{again}"
    );
    assert_eq!(before, files(&run));

    // Longer: it goes on.
    let longer = text(&lockstep(dir.path(), &["train", "--run", "run", "--set", "run.generations=3"]).stdout);
    assert!(
        longer.contains("Going on") && longer.contains("generation 3/3") && !longer.contains("generation 2/"),
        "{longer}"
    );

    let graded = lockstep(dir.path(), &["grade", "--run", "run", "--simulations", "4", "--json"]);
    let lines: Vec<serde_json::Value> =
        text(&graded.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((lines[0]["set"].as_str(), lines[0]["positions"].as_u64()), (Some("decisions"), Some(4520)));
    assert_eq!((lines[1]["set"].as_str(), lines[1]["simulations"].as_u64()), (Some("lines_of_play"), Some(4)));
    assert!(text(&lockstep(dir.path(), &["grade", "--run", "run", "--network-only"]).stdout).contains("network alone"));

    // The weights alone, wherever they are taken.
    let alone = dir.path().join("elsewhere.safetensors");
    fs::copy(run.join("checkpoints/3/weights.safetensors"), &alone).unwrap();
    let network = |run| text(&lockstep(dir.path(), &["grade", "--run", run, "--network-only", "--json"]).stdout);
    assert_eq!(network("elsewhere.safetensors"), network("run"));
    let equal = ["match", "run", "elsewhere.safetensors", "--pairs", "4", "--simulations", "4", "--json"];
    let result: serde_json::Value = serde_json::from_str(text(&lockstep(dir.path(), &equal).stdout).trim()).unwrap();
    assert_eq!(result["games"].as_u64(), Some(8), "{result}");

    // A person plays: moves, a wrong one, undo, hint, and the end of the input.
    let mut play = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .current_dir(dir.path())
        .args(["play", "--run", "run", "--simulations", "16"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    play.stdin.take().unwrap().write_all(b"b2\nz9\nhint\nmoves\nundo\nundo\na1\nnew\n").unwrap();
    let output = play.wait_with_output().unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success());
    for words in
        ["It plays", "'z9' is not a legal move", "visits", "Legal moves:", "nothing to undo", "2 . x .", "Moves: b2 "]
    {
        assert!(printed.contains(words), "'{words}' is missing in:\n{printed}");
    }
}

#[test]
fn bad_input_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    assert!(train(path, &[]).status.success());
    let before = files(path);
    refused(path, &["train", "--config", "none.toml"], &["none.toml", "No such file"]);
    refused(
        path,
        &["train", "--set", "search.simulation=3"],
        &["search.simulation", "did you mean search.simulations?"],
    );
    refused(path, &["train", "--set", "game.name=chess"], &["game.name", "tictactoe, connect_four"]);
    refused(path, &["train", "conect_four"], &["'conect_four'", "did you mean connect_four?", "tictactoe_guide"]);
    refused(path, &["train", "own.toml"], &["'own.toml'", "--config"]);
    refused(path, &["train", "tictactoe", "--minutes", "-1"], &["--minutes", "from 0"]);
    refused(path, &["config", "show", "chess"], &["'chess'", "connect_four"]);
    refused(path, &["config", "explain", "search.c_put"], &["did you mean search.c_puct?"]);
    refused(path, &["label", "tictactoe", "--before-end", "3", "2"], &["--before-end 3 2"]);
    refused(path, &["train", "--run", "run", "--seed", "7"], &["run.seed", "--run"]);
    refused(path, &["train", "--run", "run", "--set", "game.name=connect_four"], &["game.name", "--run"]);
    refused(path, &["train", "--run", "run", "--set", "network.channels=17"], &["network.channels = 16"]);
    refused(path, &["train", "--set", "run.device=cuda"], &["built without it", "--features cuda"]);
    let other = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    refused(path, &["train", "--set", &format!("run.vectors={other}")], &["run.vectors", other, "portable"]);
    let flex = ["train", "--set", "run.device=flex", "--set", "run.precision=int16"];
    refused(path, &flex, &["run.precision", "int16", "run.device"]);
    refused(path, &["grade", "--run", "nowhere"], &["nowhere", "there is no run here"]);
    refused(path, &["train", "--run", "nowhere", "--threads", "1"], &["nowhere", "there is no run here", "recipe"]);
    refused(path, &["grade", "--run", "run/config.toml"], &["run/config.toml", "it is no player"]);
    refused(path, &["play", "--run", "nowhere"], &["nowhere", "there is no run here"]);
    refused(path, &["grade", "--run", "run", "--positions", "none.csv"], &["none.csv"]);
    refused(path, &["bench", "search", "--game", "go"], &["'go'", "connect_four"]);
    refused(path, &["bench", "network", "--batch", "0"], &["--batch 0", "from 1"]);
    for option in ["--game=hex", "--lanes=8", "--channels=8", "--precision=f32", "--set=lanes.count=8", "--stages"] {
        let name = option.split('=').next().unwrap();
        refused(path, &["bench", "all", option], &["bench all", name, "leave it out"]);
    }
    refused(path, &["bench", "all", "--device", "cuda"], &["built without it", "--features cuda"]);
    assert_eq!(files(path), before);

    fs::write(path.join("bad.toml"), "[search]\nsimulations = -3\n").unwrap();
    refused(path, &["train", "--config", "bad.toml"], &["bad.toml", "line 2", "simulations"]);
    fs::write(path.join("bad.csv"), "set,moves,score,c1,c2,c3,c4,c5,c6,c7,c8,c9\na,xxx/.../...,0,1,1,1,1,1,1,1,1,1\n")
        .unwrap();
    refused(path, &["grade", "--run", "run", "--positions", "bad.csv"], &["bad.csv, line 2", "is not legal"]);

    let weights = path.join("run/checkpoints/2/weights.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    let longer = ["train", "--run", "run", "--set", "run.generations=9"];
    refused(path, &longer, &["checkpoints/2", "damaged", "remove this checkpoint"]);
    fs::write(&weights, &bytes[..middle]).unwrap();
    refused(path, &["play", "--run", "run"], &["checkpoints/2", "damaged"]);
    fs::remove_file(&weights).unwrap();
    refused(path, &["grade", "--run", "run"], &["weights.safetensors"]);
}

#[test]
fn an_unwritable_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // A file where a folder is needed: no user may write there, not even root.
    fs::write(dir.path().join("file"), "").unwrap();
    refused(dir.path(), &["train", "tictactoe", "--run", "file/run"], &["file/run", "cannot create"]);
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/games"), "").unwrap();
    refused(dir.path(), &["train", "tictactoe", "--run", "run"], &["run/games"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_a_second_process_waits_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .current_dir(dir.path())
        .args(["train", "--run", "run", "--set", "run.generations=100000", "--set", "run.games=40"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("generation 2/")).expect("it trains");
    refused(dir.path(), &["train", "--run", "run"], &["another lockstep is training"]);
    // Two at once, as a terminal and `timeout` send them.
    let signals = format!("kill -INT {0}; kill -TERM {0}", child.id());
    assert!(Command::new("sh").args(["-c", &signals]).status().unwrap().success());
    let rest: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success());
    let end =
        rest.iter().skip_while(|line| !line.starts_with("Stopped and saved")).cloned().collect::<Vec<_>>().join("\n");
    for words in
        ["To go on: lockstep train --run run\nTrained ", "\nLosses  policy ", "\nNext    lockstep play --run run"]
    {
        assert!(end.contains(words), "'{words}' is missing in: {end}");
    }
    let again = lockstep(dir.path(), &["train", "--run", "run", "--set", "run.generations=3"]);
    let printed = text(&again.stdout);
    assert!(printed.contains("is finished") || printed.contains("Trained 3"), "{printed}{}", text(&again.stderr));
}

#[test]
fn benches_and_games_print_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    for (what, key) in [
        ("search", "simulations_per_second"),
        ("network", "evaluations_per_second"),
        ("train", "samples_per_second"),
        ("selfplay", "evaluations_per_second"),
    ] {
        let small = ["--lanes", "8", "--simulations", "8", "--batch", "8", "--channels", "8", "--blocks", "1"];
        let args = [&["bench", what, "--seconds", "0.1", "--threads", "1", "--json"], &small[..]].concat();
        let output = lockstep(dir.path(), &args);
        let line: serde_json::Value = serde_json::from_str(text(&output.stdout).trim()).unwrap();
        assert_eq!((line["bench"].as_str(), line["threads"].as_u64()), (Some(what), Some(1)));
        assert!(line[key].as_f64().unwrap() > 0.0, "{line}");
    }
    // Without options it is the recipe that is measured, in the numbers that a run of it would take.
    for name in ["tictactoe", "connect_four"] {
        let args = ["bench", "selfplay", "--game", name, "--seconds", "0.1", "--json"];
        let line: serde_json::Value = serde_json::from_str(text(&lockstep(dir.path(), &args).stdout).trim()).unwrap();
        let config = settings::load(Source::Recipe(name), &[]).unwrap();
        let place = device::place_of(&config).unwrap();
        assert_eq!(line["recipe"], name);
        assert_eq!(line["network"], serde_json::json!(config.network.kind));
        assert_eq!(line["channels"].as_u64(), Some(config.network.channels as u64), "{line}");
        assert_eq!(line["precision"], place.precision.name(), "{line}");
        assert_eq!(line["lanes"].as_u64(), Some(config.lanes.count.into()), "{line}");
        assert_eq!(line["simulations"].as_u64(), Some(config.search.simulations.into()), "{line}");
    }
    // The whole list gives the same objects, each as soon as it is measured, and ends when nobody reads them.
    let mut all = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    all.args(["bench", "all", "--seconds", "0.001", "--threads", "1", "--json"]).stderr(Stdio::null());
    let mut all = all.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(all.stdout.take().unwrap()).lines().take(2);
    let lines: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(!all.wait().unwrap().success());
    assert!(lines.iter().all(|line| line["bench"] == "search" && line["threads"] == 1), "{lines:?}");
    assert!(lines[0]["lanes"] != lines[1]["lanes"] && lines[1]["simulations_per_second"].as_f64() > Some(0.0));
    let games = text(&lockstep(dir.path(), &["games", "--json"]).stdout);
    assert_eq!(games.lines().count(), lockstep::components::games::NAMES.len());
    assert!(text(&lockstep(dir.path(), &["games"]).stdout).contains("Connect Four"));
    let devices = text(&lockstep(dir.path(), &["devices", "--json"]).stdout);
    let devices: Vec<serde_json::Value> = devices.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(devices.iter().map(|d| d["device"].as_str().unwrap()).collect::<Vec<_>>(), ["cpu", "cuda", "vulkan"]);
    assert!(devices[0]["memory"].as_u64() > Some(0) && devices.iter().any(|device| device["auto"] == true));
    let missing = devices.iter().filter(|device| device["name"].is_null());
    assert!(missing.clone().all(|device| device["why_not"].as_str().unwrap().contains("run.device")));
    for command in ["train", "grade", "play", "verify", "bench", "games"] {
        assert!(lockstep(dir.path(), &[command, "--help"]).stdout.len() > 200);
    }
}
