//! What a run was made with, and how that has changed.
//!
//! `config.toml` in the run folder is what the run goes on with. Each checkpoint keeps what it was made with, and
//! `history.jsonl` has a line for each key that was changed afterwards.

use crate::{
    Error, checkpoint,
    folder::{Folder, sync},
    settings::{self, Source},
};
use lockstep_components::Config;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::Write,
};
use toml::{Table, Value};

/// One key that has another value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Generation that is the first to have it; 0 while it is not known.
    pub generation: u64,
    /// Section and key.
    pub key: String,
    /// What it was, as TOML.
    pub from: String,
    /// What it is, as TOML.
    pub to: String,
}

/// How a run can go on.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// With these settings.
    pub config: Config,
    /// Which of them are not those that it was made with.
    pub changes: Vec<Change>,
    /// Keys of a recipe that was named although the run has settings of its own.
    pub ignored: Vec<Change>,
}

/// Keys that say where a run is computed: they may be changed at any time, and are no part of what it was made with.
const OF_THE_MACHINE: [&str; 5] = ["run.threads", "run.device", "run.own_kernels", "run.tower", "run.vectors"];

/// Keys that cannot change within a run, and all of `[network]`.
const FIXED: [&str; 8] = [
    "game.name",
    "game.komi",
    "lanes.leaves_per_tree",
    "search.simulations",
    "run.seed",
    "run.lag",
    "learn.optimizer",
    "learn.precision",
];

/// The settings of a new run in this folder, or those of the run that is there with what the command line changes.
///
/// # Errors
/// When a file or override cannot be used, or a key is changed that cannot change within a run.
pub fn resolve(folder: &Folder, recipe: Option<Source>, overrides: &[String]) -> Result<Resolved, Error> {
    let new = |config: Config| Resolved { config: config.settled(), changes: vec![], ignored: vec![] };
    if !folder.is_run() {
        return Ok(new(settings::load(recipe.unwrap_or_default(), overrides)?));
    }
    let file = folder.config();
    let stored = settings::load(Source::File(&file), &[])?.settled();
    let config = settings::load(Source::File(&file), overrides)?.settled();
    let made_with = made_with(folder)?.unwrap_or(stored.clone());
    let mut changes = differences(&made_with, &config);
    let ignored = match recipe {
        None => vec![],
        // What the command line says by itself is not ignored.
        Some(recipe) => differences(&settings::load(recipe, overrides)?.settled(), &config),
    };
    for (change, of_recipe) in changes.iter().map(|c| (c, false)).chain(ignored.iter().map(|c| (c, true))) {
        let Change { key, from, to, .. } = change;
        if !FIXED.contains(&key.as_str()) && !key.starts_with("network.") {
            continue;
        }
        let (own, asked) = if of_recipe { (to, from) } else { (from, to) };
        return Err(Error::Run {
            path: folder.path().into(),
            message: format!(
                "the run in this folder has {key} = {own}, which cannot change within a run, and not {asked}; \
                 choose another folder with --run to start a new one"
            ),
        });
    }
    // What was changed since the newest checkpoint and is what it was before again.
    let back = differences(&stored, &config).into_iter();
    let back: Vec<Change> = back.filter(|back| changes.iter().all(|change| change.key != back.key)).collect();
    changes.extend(back);
    Ok(Resolved { config, changes, ignored })
}

/// What the newest checkpoint of a run was made with, if there is one.
///
/// # Errors
/// When it cannot be read.
pub fn made_with(folder: &Folder) -> Result<Option<Config>, Error> {
    let Some(checkpoint) = checkpoint::newest(folder)? else { return Ok(None) };
    Ok(Some(checkpoint::read_config(&checkpoint)?.settled()))
}

/// The keys that differ, those of the machine apart.
pub fn differences(from: &Config, to: &Config) -> Vec<Change> {
    let keys = |config: &Config| -> Vec<(String, Value)> {
        let table = Table::try_from(config).expect("a configuration is plain data");
        let keys = table.into_iter().flat_map(|(section, value)| {
            let keys = if let Value::Table(keys) = value { keys } else { Table::new() };
            keys.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))
        });
        keys.collect()
    };
    let (from, to) = (keys(from), keys(to));
    let pairs =
        from.into_iter().zip(to).filter(|((key, from), (_, to))| from != to && !OF_THE_MACHINE.contains(&key.as_str()));
    pairs
        .map(|((key, from), (_, to))| Change { generation: 0, key, from: from.to_string(), to: to.to_string() })
        .collect()
}

/// Keeps changes that apply from this generation on, unless they were kept already: by a command that was stopped before
/// the next checkpoint.
///
/// # Errors
/// When the file cannot be used.
pub fn record(folder: &Folder, generation: u64, changes: &[Change]) -> Result<(), Error> {
    let path = folder.history();
    let known = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error::io("read", &path)(e)),
    };
    let lines: Vec<String> = changes
        .iter()
        .filter(|change| newest(&known, &change.key).is_none_or(|known| known.to != change.to))
        .map(|change| serde_json::to_string(&Change { generation, ..(*change).clone() }).expect("plain data"))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write", &path))?;
    file.write_all((lines.join("\n") + "\n").as_bytes()).map_err(Error::io("write", &path))?;
    sync(&file, &path)
}

/// The last change of a key.
fn newest(known: &str, key: &str) -> Option<Change> {
    let mut changes = known.lines().rev().filter_map(|line| serde_json::from_str::<Change>(line).ok());
    changes.find(|change| change.key == key)
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} -> {}", self.key, self.from, self.to)
    }
}
