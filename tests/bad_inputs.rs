//! Generated bad inputs for everything that reads: none panics, hangs or aborts.
//!
//! `LOCKSTEP_ATTACKS=N` makes it N times as many as in a usual test run. With `--nocapture` it prints how deep the
//! inputs of each kind came.

use crate::{attacks, lockstep, text};
use clap::Parser;
use lockstep::{
    analyst::Player,
    cli::Cli,
    device,
    folder::Folder,
    grade::{Basis, Graded, Grading},
    history, memory, metrics, oracle,
    prelude::*,
    settings,
    trainer::Event,
};
use lockstep_components::{
    game::Oracle,
    games::{self, GameVisitor},
};
use lockstep_systems::{Batch, Evaluations};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};
use toml::{Table, Value};

/// The number of inputs of each kind in a usual test run.
const INPUTS: u64 = 2_000;
/// The time after which an input that is still being read is one that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sound files and texts that the inputs are made from.
struct Sound {
    dir: tempfile::TempDir,
    recipes: Vec<String>,
    positions: Vec<String>,
}

impl Sound {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let set = ["run.generations=2", "run.games=16", "search.simulations=4", "run.grade_simulations=1"];
        let mut args = vec!["train", "--run", "run"];
        set.iter().for_each(|set| args.extend(["--set", set]));
        let output = lockstep(dir.path(), &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let Oracle::Positions(data) = ConnectFour::ORACLE else { panic!("there are positions for Connect Four") };
        let rows = String::from_utf8(zstd::decode_all(data).unwrap()).unwrap();
        let recipes = lockstep::games::recipes().into_iter().map(|(_, text)| text.to_string()).collect();
        Self { dir, recipes, positions: rows.lines().map(String::from).collect() }
    }

    fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }
}

fn pick<'a, T>(rng: &mut LaneRng, from: &'a [T]) -> &'a T {
    &from[rng.below(from.len())]
}

/// Words that some reader knows, and numbers at the ends of what can be written.
const WORDS: [&str; 64] = [
    "tictactoe",
    "connect_four",
    "mlp",
    "resnet",
    "scalar",
    "wdl",
    "none",
    "log",
    "adam_w",
    "sgd",
    "constant",
    "auto",
    "cpu",
    "flex",
    "cuda",
    "vulkan",
    "f32",
    "int16",
    "avx2",
    "avx512",
    "plain",
    "true",
    "false",
    "nan",
    "inf",
    "-inf",
    "-0.0",
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "8",
    "9",
    "41",
    "42",
    "63",
    "64",
    "65",
    "255",
    "256",
    "1000",
    "1024",
    "1025",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "1e39",
    "1e-300",
    "0.25",
    "0.5",
    "\"\"",
    "\u{0}",
    "é",
    "\u{10ffff}",
    "{ reuse = 1.0 }",
    "{ batches = 3 }",
    "{ cosine = { warm_up = 1, last = 0.1 } }",
    "[]",
    "{}",
];

/// Returns bytes of which some are changed, removed, put in, doubled or cut off.
pub fn mutated(rng: &mut LaneRng, sound: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + 1 + rng.below(12)).min(bytes.len());
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 => bytes.insert(at, rng.below(256) as u8),
            2 => drop(bytes.drain(at..end)),
            3 => bytes = [&bytes[..end], &bytes[at..]].concat(),
            4 if rng.below(4) == 0 => bytes.truncate(at),
            _ => drop(bytes.splice(at..end, pick(rng, &WORDS).bytes())),
        }
    }
    bytes
}

/// Returns a value for a key, mostly of the type of `known`.
fn value(rng: &mut LaneRng, known: &Value) -> Value {
    let parsed = |text: &str| format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    let any = |rng: &mut LaneRng| {
        let word = *pick(rng, &WORDS);
        parsed(word).unwrap_or_else(|| Value::String(word.into()))
    };
    match rng.below(4) {
        0 => any(rng),
        1 => match known {
            Value::Integer(_) => Value::Integer(1 + rng.below(80) as i64),
            Value::Float(_) => Value::Float(f64::from(rng.unit())),
            Value::Boolean(_) => Value::Boolean(rng.below(2) == 0),
            _ => any(rng),
        },
        // Any value of that type, as far as there is one among the words.
        _ => (0..100).map(|_| any(rng)).find(|value| value.same_type(known)).unwrap_or_else(|| known.clone()),
    }
}

/// Returns all keys, each with its section and its default.
fn keys() -> Vec<(String, String, Value)> {
    let all = Table::try_from(Config::default()).unwrap();
    let keys = all.into_iter().flat_map(|(section, keys)| {
        let Value::Table(keys) = keys else { panic!("[{section}] has no keys") };
        keys.into_iter().map(move |(key, value)| (section.clone(), key, value))
    });
    keys.collect()
}

/// Returns a recipe that is sound but for some values, and overrides.
fn changed_recipe(rng: &mut LaneRng, sound: &Sound) -> (String, Vec<String>) {
    let mut table: Table = pick(rng, &sound.recipes).parse().unwrap();
    let (keys, mut overrides) = (keys(), vec![]);
    for _ in 0..1 + rng.below(3) {
        let (section, key, known) = pick(rng, &keys);
        let value = value(rng, known);
        if rng.below(3) == 0 {
            overrides.push(format!("{section}.{key}={value}"));
        } else {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            entry.as_table_mut().unwrap().insert(key.clone(), value);
        }
    }
    (toml::to_string(&table).unwrap(), overrides)
}

/// Returns how deep a configuration comes, from its text to a few ticks of play.
fn deep(parsed: Result<Config, lockstep::Error>, text: &str) -> &'static str {
    let config = match parsed {
        Err(error) if text.parse::<Table>().is_err() => {
            assert!(!error.to_string().is_empty());
            return "1 not TOML";
        }
        Err(error) => {
            let message = error.to_string();
            return if message.contains("range") { "3 a range" } else { "2 a key or its type" };
        }
        Ok(config) => config,
    };
    assert_eq!(settings::parse(&settings::to_text(&config), "again", &[]).unwrap(), config);
    let Ok(place) = device::place_of(&config) else { return "4 its place" };
    let small = config.network.channels <= 128
        && config.network.blocks <= 6
        && config.lanes.count * config.lanes.leaves_per_tree <= 1_024
        && config.learn.batch_size <= 4_096;
    play(&config, &place, small).unwrap_or_else(|error| {
        assert!(error.to_string().contains("lower "), "{error}");
        "4 its memory"
    })
}

fn play(config: &Config, place: &device::Place, small: bool) -> Result<&'static str, lockstep::Error> {
    let game = lockstep::games::named(&config.game.name)?;
    if !small {
        return Ok("5 sound, too large to be tried");
    }
    let bound = memory::MemoryBound::of_run(game, config, place)?;
    bound.check()?;
    if bound.total().saturating_sub(memory::resident()) > 600_000_000 {
        return Ok("5 sound, too large to be tried");
    }
    let mut run = Trainer::new(game, config, place, &Hooks::default());
    for _ in 0..6 {
        if let Event::Generation(..) = run.advance()? {
            return Ok("6 a generation");
        }
    }
    Ok("6 played")
}

/// Makes an input of one kind, reads it, and returns how deep it came.
type Reader = fn(&mut LaneRng, &Sound) -> &'static str;

const READERS: [(&str, u32, Reader); 11] = [
    ("recipe, bytes", 14, |rng, sound| {
        let recipe = pick(rng, &sound.recipes).as_bytes();
        let recipe = mutated(rng, recipe);
        let recipe = String::from_utf8_lossy(&recipe);
        deep(settings::parse(&recipe, "x", &[]), &recipe)
    }),
    ("recipe, values", 22, |rng, sound| {
        let (recipe, overrides) = changed_recipe(rng, sound);
        deep(settings::parse(&recipe, "x", &overrides), &recipe)
    }),
    ("--set", 14, |rng, sound| {
        let (section, key, _) = pick(rng, &keys()).clone();
        let set = format!("{section}.{key}={}", pick(rng, &WORDS));
        let set = if rng.below(2) == 0 { String::from_utf8_lossy(&mutated(rng, set.as_bytes())).into() } else { set };
        let recipe = pick(rng, &sound.recipes);
        deep(settings::parse(recipe, "x", &[set]), recipe)
    }),
    ("run folder", 6, |rng, sound| {
        let dir = tempfile::tempdir().unwrap();
        let (run, checkpoint) = (dir.path().join("run"), dir.path().join("run/checkpoints/2"));
        fs::create_dir_all(&checkpoint).unwrap();
        let stored = fs::read_to_string(sound.run().join("config.toml")).unwrap();
        let damaged = |rng: &mut LaneRng| match rng.below(3) {
            0 => mutated(rng, stored.as_bytes()),
            1 => changed_recipe(rng, sound).0.into_bytes(),
            _ => stored.clone().into_bytes(),
        };
        fs::write(run.join("config.toml"), damaged(rng)).unwrap();
        fs::write(checkpoint.join("config.toml"), damaged(rng)).unwrap();
        sign(sound, &checkpoint);
        fs::write(dir.path().join("recipe.toml"), damaged(rng)).unwrap();
        let overrides = changed_recipe(rng, sound).1;
        let recipe = (rng.below(2) == 0).then(|| dir.path().join("recipe.toml"));
        match history::resolve(&Folder::at(&run), recipe.as_deref().map(settings::Source::File), &overrides) {
            Err(lockstep::Error::Run { message, .. }) => {
                assert!(message.contains("cannot change within a run"), "{message}");
                "3 a fixed key"
            }
            Err(lockstep::Error::Io { .. }) => "1 not a text",
            Err(_) => "2 a configuration",
            Ok(resolved) if resolved.changes.is_empty() => "4 goes on unchanged",
            Ok(resolved) => {
                history::record(&Folder::at(&run), 3, &resolved.changes).unwrap();
                "5 goes on changed"
            }
        }
    }),
    ("position file", 14, |rng, sound| {
        let mut rows = vec![sound.positions[0].clone()];
        rows.extend((0..3).map(|_| sound.positions[1 + rng.below(sound.positions.len() - 1)].clone()));
        let bytes = if rng.below(3) == 0 {
            mutated(rng, rows.join("\n").as_bytes())
        } else {
            // A cell of a row, so that the table stays one.
            let row = 1 + rng.below(3);
            let mut cells: Vec<String> = rows[row].split(',').map(String::from).collect();
            let cell = rng.below(cells.len());
            cells[cell] = match rng.below(3) {
                0 => String::from_utf8_lossy(&mutated(rng, cells[cell].as_bytes())).replace([',', '"', '\n', '\r'], ""),
                1 => pick(rng, &WORDS).replace([',', '"'], ""),
                _ => format!("{}", rng.below(50) as i64 - 25),
            };
            rows[row] = cells.join(",");
            rows.join("\n").into_bytes()
        };
        match oracle::read_csv(&State::of(ConnectFour::start()), &bytes[..], Path::new("x.csv")) {
            Ok(sets) => {
                assert!(sets.iter().flat_map(|set| &set.positions).all(|p| p.position.legal().len() == p.scores.len()));
                "4 sound"
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.starts_with("x.csv, line "), "{message}");
                let of_table = ["header", "cells", "CSV", "no positions"].iter().any(|word| message.contains(word));
                let of_position =
                    ["legal move", "over", "column", "full", "move"].iter().any(|word| message.contains(word));
                if of_table {
                    "1 the table"
                } else if of_position {
                    "2 a position"
                } else {
                    "3 a score"
                }
            }
        }
    }),
    ("positions and moves", 20, |rng, _| {
        fn read<G: Game>(rng: &mut LaneRng) -> &'static str {
            let (mut position, mut moves) = (G::start(), vec![]);
            for _ in 0..rng.below(G::MAX_PLIES) {
                if position.outcome().is_some() {
                    break;
                }
                let legal: Vec<_> = position.legal().collect();
                let action = *pick(rng, &legal);
                moves.push(position.action_text(action));
                position.play(action);
            }
            let mut changed = moves.join(*pick(rng, &["", " ", ", "])).into_bytes();
            match rng.below(3) {
                0 => changed = mutated(rng, &changed),
                // Its characters in another order, or one more of them: still of the alphabet.
                1 if !changed.is_empty() => {
                    let by = rng.below(changed.len());
                    changed.rotate_left(by);
                }
                _ => changed.extend(changed.get(rng.below(changed.len().max(1))).copied()),
            }
            let _ = position.parse_action(&String::from_utf8_lossy(&changed)).map(|action| {
                assert!(position.is_legal(action), "an illegal move was read");
            });
            match G::parse(&String::from_utf8_lossy(&changed)) {
                Ok(read) if read.outcome().is_some() => "3 the end of a game",
                Ok(read) => {
                    assert!(read.legal().next().is_some());
                    "4 a position in play"
                }
                Err(error) if error.0.contains("after the end") => "2 a move too many",
                Err(error) => {
                    assert!(error.0.contains("move ") && error.0.len() < 2_000, "{error}");
                    "1 a move"
                }
            }
        }
        struct Read<'a>(&'a mut LaneRng);
        impl GameVisitor for Read<'_> {
            type Output = &'static str;
            fn visit<G: Game>(self) -> &'static str {
                read::<G>(self.0)
            }
        }
        let name: &&str = pick(rng, games::NAMES);
        games::visit(name, Read(rng)).unwrap_or_else(|_| panic!("a name of the registry"))
    }),
    ("weights, bytes", 2, |rng, sound| weights(rng, sound, mutated)),
    ("weights, description", 4, |rng, sound| {
        weights(rng, sound, |rng, bytes| {
            // Behind its length the file begins with a description in JSON: it stays JSON, of the length that it says.
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let mut header: serde_json::Map<_, _> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
            let names: Vec<String> = header.keys().filter(|name| *name != "__metadata__").cloned().collect();
            let name = pick(rng, &names).clone();
            let number = pick(rng, &[0u64, 1, 2, 3, 9, 16, 64, 1 << 20, 1 << 32, 1 << 62, u64::MAX]);
            match rng.below(4) {
                0 => drop(header.remove(&name)),
                1 => header[&name]["shape"] = serde_json::json!([number, 3]),
                2 => header[&name]["data_offsets"][rng.below(2)] = serde_json::json!(number),
                _ => header[&name]["dtype"] = serde_json::json!(pick(rng, &["F32", "F16", "I8", "F64", "X"])),
            }
            let text = serde_json::to_vec(&header).unwrap();
            [&(text.len() as u64).to_le_bytes()[..], &text, &bytes[8 + length..]].concat()
        })
    }),
    ("weights, numbers", 4, |rng, sound| {
        weights(rng, sound, |rng, bytes| {
            let mut bytes = bytes.to_vec();
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let first = 8 + length;
            let numbers = [f32::MAX, f32::MIN, 1e30, -1e30, f32::MIN_POSITIVE, -0.0, f32::NAN, f32::INFINITY];
            // Finite ones alone come further.
            let numbers = &numbers[..*pick(rng, &[6, 6, 6, 8])];
            for _ in 0..1 + rng.below(50) {
                let at = first + 4 * rng.below((bytes.len() - first) / 4);
                let number = *pick(rng, numbers);
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            bytes
        })
    }),
    ("metrics and verdict", 12, |rng, sound| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let good = fs::read(sound.run().join("metrics.jsonl")).unwrap();
        let mut lines: Vec<String> = String::from_utf8(good.clone()).unwrap().lines().map(String::from).collect();
        let bytes = if rng.below(2) == 0 {
            mutated(rng, &good)
        } else {
            let line = rng.below(lines.len());
            let mut object: serde_json::Map<_, _> = serde_json::from_str(&lines[line]).unwrap();
            let names: Vec<String> = object.keys().cloned().collect();
            let number = [
                serde_json::json!(-1),
                serde_json::json!(1e300),
                serde_json::json!(3),
                serde_json::json!("x"),
                serde_json::Value::Null,
            ];
            object[pick(rng, &names)] = pick(rng, &number).clone();
            lines[line] = serde_json::to_string(&object).unwrap();
            (lines.join("\n") + "\n").into_bytes()
        };
        fs::write(&path, &bytes).unwrap();
        let checked = metrics::check(&path, 2).map_err(|e| e.to_string());
        assert_eq!(fs::read(&path).unwrap(), bytes, "looking has changed it");
        let truncated = metrics::truncate(&path, 2);
        let player = Player::open(&sound.run(), None).unwrap();
        let basis = Basis::of(&player, &Grading { simulations: 1, limit: Some(20), ..Default::default() }).unwrap();
        let verdict = mutated(rng, &fs::read(sound.run().join("verdict.jsonl")).unwrap());
        let _ = Graded::from_lines(&String::from_utf8_lossy(&verdict), &basis);
        match (checked, truncated) {
            (Ok(notices), Ok(_)) if notices.is_empty() => "3 sound",
            (_, Ok(_)) => "2 lines set aside",
            (_, Err(error)) => {
                assert!(error.to_string().contains("metrics.jsonl"), "{error}");
                "1 refused"
            }
        }
    }),
    ("command line", 12, |rng, _| {
        let words = [
            "train",
            "grade",
            "play",
            "bench",
            "games",
            "search",
            "network",
            "selfplay",
            "--run",
            "--set",
            "--threads",
            "--config",
            "--seed",
            "--simulations",
            "--json",
            "--second",
            "--generation",
            "--lanes",
            "--game",
            "--seconds",
            "--help",
            "--version",
            "-",
        ];
        let mut args = vec!["lockstep".to_string()];
        for _ in 0..rng.below(6) {
            let word = if rng.below(3) == 0 { pick(rng, &WORDS) } else { pick(rng, &words) };
            args.push(if rng.below(4) == 0 {
                String::from_utf8_lossy(&mutated(rng, word.as_bytes())).into()
            } else {
                word.to_string()
            });
        }
        match Cli::try_parse_from(args) {
            Ok(_) => "3 a command",
            Err(error) if error.exit_code() == 0 => "2 help",
            Err(_) => "1 refused",
        }
    }),
];

/// Gives a checkpoint a manifest that has the digests of its files, as if they had been written so.
fn sign(sound: &Sound, checkpoint: &Path) {
    let text = fs::read_to_string(sound.run().join("checkpoints/2/manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for (name, digest) in manifest["files"].as_object_mut().unwrap() {
        if let Ok(bytes) = fs::read(checkpoint.join(name)) {
            *digest = blake3::hash(&bytes).to_hex().as_str().into();
        }
    }
    let line = manifest.to_string();
    let own = blake3::hash(line.as_bytes()).to_hex();
    fs::write(checkpoint.join("manifest.json"), format!("{line}\n{own}\n")).unwrap();
}

/// Opens a player whose weights were changed, evaluates one position, and returns how deep that came.
fn weights(rng: &mut LaneRng, sound: &Sound, change: fn(&mut LaneRng, &[u8]) -> Vec<u8>) -> &'static str {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("run/checkpoints/2");
    fs::create_dir_all(&checkpoint).unwrap();
    fs::copy(sound.run().join("config.toml"), dir.path().join("run/config.toml")).unwrap();
    fs::copy(sound.run().join("config.toml"), checkpoint.join("config.toml")).unwrap();
    let good = fs::read(sound.run().join("checkpoints/2/weights.safetensors")).unwrap();
    fs::write(checkpoint.join("weights.safetensors"), change(rng, &good)).unwrap();
    sign(sound, &checkpoint);
    let player = Player::open(&dir.path().join("run"), None);
    let evaluator = player.and_then(|player| player.evaluator(&player.place()?, 1));
    let mut evaluator = match evaluator {
        Ok(evaluator) => evaluator,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("checkpoints/2"), "{message}");
            return if message.contains("damaged") {
                "1 the format"
            } else if message.contains("finite") {
                "2 a number"
            } else {
                "3 a tensor"
            };
        }
    };
    let mut out = Evaluations::new(1, TicTacToe::ACTIONS);
    evaluator.evaluate(&Batch::of::<TicTacToe>(&[TicTacToe::start()]), &mut out).unwrap();
    if out.logits.iter().chain(&out.values).all(|x| x.is_finite()) { "4 evaluated" } else { "4 evaluated, not finite" }
}

#[test]
fn no_input_panics_hangs_or_aborts() {
    let sound = Sound::new();
    let total: u32 = READERS.iter().map(|(_, share, _)| share).sum();
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let mut depths: BTreeMap<(usize, &'static str), u64> = BTreeMap::new();
        for (reader, (name, share, read)) in READERS.iter().enumerate() {
            for case in 0..INPUTS * attacks() * u64::from(*share) / u64::from(total) {
                sender.send(format!("{name}, case {case}")).unwrap();
                let mut rng = LaneRng::new(reader as u64, case);
                match catch_unwind(AssertUnwindSafe(|| read(&mut rng, &sound))) {
                    Ok(depth) => *depths.entry((reader, depth)).or_default() += 1,
                    Err(_) => panic!("{name}, case {case}"),
                }
            }
        }
        for ((reader, depth), count) in &depths {
            println!("{:22} {depth:32} {count:7}", READERS[*reader].0);
        }
        let past_the_first: u64 = depths.iter().filter(|((_, depth), _)| !depth.starts_with('1')).map(|(_, n)| n).sum();
        let all: u64 = depths.values().sum();
        println!("{past_the_first} of {all} came past the first parser");
        assert!(past_the_first * 3 > all);
    };
    let worker = std::thread::spawn(work);
    let mut last = String::new();
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(case) => last = case,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{last} hangs"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(cause) = worker.join() {
        std::panic::resume_unwind(cause);
    }
}

/// Lines for `play`: each is answered, and the game goes on.
#[test]
fn no_line_ends_a_game() {
    let sound = Sound::new();
    let (mut legal, mut other, mut lines) = (0, 0, 0);
    for process in 0..attacks() {
        let mut rng = LaneRng::new(77, process);
        let mut input = vec![];
        for _ in 0..100 {
            let line: Vec<u8> = match rng.below(6) {
                0 => mutated(&mut rng, b"b2"),
                1 => pick(&mut rng, &WORDS).bytes().collect(),
                2 => pick(&mut rng, &["undo", "hint", "moves", "new", "help", "HINT", ""]).bytes().collect(),
                3 if rng.below(10) == 0 => vec![b'x'; 300_000],
                _ => format!("{}{}", pick(&mut rng, &["a", "b", "c"]), 1 + rng.below(3)).into_bytes(),
            };
            let line: Vec<u8> = line.into_iter().filter(|&b| b != b'\n').collect();
            if !["quit", "exit", "q"].contains(&String::from_utf8_lossy(&line).trim().to_lowercase().as_str()) {
                input.extend(line);
                input.push(b'\n');
                lines += 1;
            }
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .current_dir(sound.dir.path())
            .args(["play", "--run", "run", "--simulations", "2", "--threads", "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        legal += printed.matches("It plays").count();
        other += printed.matches("Type a move").count() - 1;
        assert!(printed.lines().all(|line| line.len() < 1_000), "a line is answered with one as long");
    }
    println!("{lines} lines: {legal} moves answered, {other} lines explained");
    assert!(legal > 0 && other > 0);
}
