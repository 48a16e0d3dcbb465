//! What a run was made with, and how that has changed.
//!
//! `config.toml` in the run folder is what the run goes on with. Each checkpoint keeps what it was made with, and
//! `history.jsonl` has a line for each key that was changed afterwards.

use crate::{
    Error, checkpoint,
    folder::{Folder, sync, write_file},
    log::Log,
    settings::{self, Source},
};
use lockstep_components::{
    Config,
    config::keys::{self, Role},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// A key with another value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The first generation with the new value; 0 while it is not known.
    pub generation: u64,
    /// The section and the key, as in `search.simulations`.
    pub key: String,
    /// The old value as TOML, or "(left out)".
    pub from: String,
    /// The new value as TOML, or "(left out)".
    pub to: String,
}

/// Where a fork comes from: a line of `history.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The generation that the fork goes on from.
    pub generation: u64,
    /// The run that it was forked from, as it was named then, with its generation: `runs/a@60`.
    pub forked_from: String,
}

/// The settings with which a run begins or goes on.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The settings of the run.
    pub config: Config,
    /// The keys whose values are not those that the run was made with.
    pub changes: Vec<Change>,
    /// The keys of a recipe that was named although the run has settings of its own, from the value of the recipe to
    /// that of the run.
    pub ignored: Vec<Change>,
}

/// Returns the settings of a new run in this folder, or those of the run that is there with what the command line
/// changes.
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
    let made_with = made_with(folder, &stored)?.map_or(stored.clone(), |(made_with, _)| made_with);
    let mut changes = differences(&made_with, &config);
    let ignored = match recipe {
        None => vec![],
        // What the command line says by itself is not ignored.
        Some(recipe) => differences(&settings::load(recipe, overrides)?.settled(), &config),
    };
    for (change, of_recipe) in changes.iter().map(|c| (c, false)).chain(ignored.iter().map(|c| (c, true))) {
        if !change.is_fixed() {
            continue;
        }
        let Change { key, from, to, .. } = change;
        let (own, asked) = if of_recipe { (to, from) } else { (from, to) };
        // What the command line has not asked for stands in the file.
        let edited = !of_recipe && differences(&made_with, &stored).contains(change);
        let way = if edited { format!("put it back in {}, or ", file.display()) } else { String::new() };
        return Err(Error::Run {
            path: folder.path().into(),
            message: format!(
                "the run in this folder has {key} = {own}, which cannot change within a run, and not {asked}; \
                 {way}choose another folder with --run to start a new one"
            ),
        });
    }
    // What was changed since the newest checkpoint and is what it was before again.
    let back = differences(&stored, &config).into_iter();
    let back: Vec<Change> = back.filter(|back| changes.iter().all(|change| change.key != back.key)).collect();
    changes.extend(back);
    Ok(Resolved { config, changes, ignored })
}

/// Returns the settings that the newest checkpoint of a run was made with or, before there is a checkpoint, its first
/// games, and the path where they stand; `None` if there is neither. The log has only what decides what is played and
/// learned: the rest is taken from `otherwise`.
///
/// # Errors
/// When the checkpoint or the log cannot be read.
pub fn made_with(folder: &Folder, otherwise: &Config) -> Result<Option<(Config, PathBuf)>, Error> {
    if let Some(checkpoint) = checkpoint::newest(folder)? {
        return Ok(Some((checkpoint::read_config(&checkpoint)?.settled(), checkpoint)));
    }
    let Some((path, header)) = Log::of(folder).first()? else { return Ok(None) };
    Ok(Some((settings::with_essence(otherwise, &header.settings)?.settled(), path)))
}

/// Writes the configuration of a run that has lost it, and returns the path that the settings were taken from: see
/// [`made_with`]. What is not known there is taken from `recipe`. Returns `None` if the configuration is there, or
/// nothing is that was made with it.
///
/// # Errors
/// When what is there cannot be read, or the configuration cannot be written.
pub fn put_back(folder: &Folder, recipe: Option<Source>) -> Result<Option<PathBuf>, Error> {
    if folder.is_run() || !folder.path().is_dir() {
        return Ok(None);
    }
    let Some((config, path)) = made_with(folder, &settings::load(recipe.unwrap_or_default(), &[])?)? else {
        return Ok(None);
    };
    write_file(&folder.config(), settings::to_text(&config).as_bytes())?;
    Ok(Some(path))
}

/// Returns the first key that differs and cannot change within a run.
pub fn unchangeable(from: &Config, to: &Config) -> Option<Change> {
    differences(from, to).into_iter().find(Change::is_fixed)
}

/// Returns the keys that differ, those of the machine ([`Role::Machine`]) apart.
pub fn differences(from: &Config, to: &Config) -> Vec<Change> {
    let table = |config| Table::try_from(config).expect("a configuration is plain data");
    between(&table(from), &table(to))
}

/// Returns the keys that differ between tables of sections, either of which may lack keys of the other; those of the
/// machine apart.
fn between(from: &Table, to: &Table) -> Vec<Change> {
    let [from, to] = [from, to].map(|table| -> BTreeMap<String, &Value> {
        let sections = table.iter().filter_map(|(section, keys)| Some((section, keys.as_table()?)));
        sections
            .flat_map(|(section, keys)| keys.iter().map(move |(key, value)| (format!("{section}.{key}"), value)))
            .collect()
    });
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let differ = keys.into_iter().filter(|key| from.get(*key) != to.get(*key) && !has_role(key, Role::Machine));
    let text = |value: Option<&&Value>| value.map_or(LEFT_OUT.into(), |value| value.to_string());
    differ
        .map(|key| Change { generation: 0, key: key.clone(), from: text(from.get(key)), to: text(to.get(key)) })
        .collect()
}

/// What stands in the place of a value where a key that may be left out is.
const LEFT_OUT: &str = "(left out)";

/// Adds changes that apply from this generation on to the history of a run, unless they were added already by a command
/// that was stopped before the next checkpoint.
///
/// # Errors
/// When the file of the history cannot be read or written.
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
    append(&path, &lines)
}

/// Adds a line to the history of a run that says where it was forked from.
///
/// # Errors
/// When the file of the history cannot be written.
pub fn record_origin(folder: &Folder, origin: &Origin) -> Result<(), Error> {
    append(&folder.history(), &[serde_json::to_string(origin).expect("plain data")])
}

/// Returns what was changed after a run had begun, but for lines that are not understood.
pub fn changes(folder: &Folder) -> Vec<Change> {
    lines(folder)
}

/// Returns where a run was forked from: an empty list for one that began by itself, and more than one origin for the
/// fork of a fork, the last one last. Lines that are not understood are left out.
pub fn origins(folder: &Folder) -> Vec<Origin> {
    lines(folder)
}

/// Returns the lines of a history that are of this kind.
fn lines<T: DeserializeOwned>(folder: &Folder) -> Vec<T> {
    let text = fs::read(folder.history()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Adds lines to a file, which is made if there is none.
///
/// # Errors
/// When the file cannot be written.
pub fn append(path: &Path, lines: &[String]) -> Result<(), Error> {
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("write", path))?;
    file.write_all((lines.join("\n") + "\n").as_bytes()).map_err(Error::io("write", path))?;
    sync(&file, path)
}

/// Returns the last change of a key in the lines of a history.
fn newest(known: &str, key: &str) -> Option<Change> {
    let mut changes = known.lines().rev().filter_map(|line| serde_json::from_str::<Change>(line).ok());
    changes.find(|change| change.key == key)
}

/// Returns changes as text for people, on one line.
pub fn list(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join(", ")
}

fn has_role(key: &str, role: Role) -> bool {
    keys::find(key).is_some_and(|key| key.role == role)
}

impl Change {
    /// Whether the key cannot change within a run.
    fn is_fixed(&self) -> bool {
        has_role(&self.key, Role::Fixed)
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} -> {}", self.key, self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_one_side_leaves_out_are_changes_of_their_own() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let more = table("[learn]\na = 1\nb = 2\nc = 3\n[run]\nlag = 1\nthreads = 2");
        let less = table("[learn]\na = 1\nc = 4\n[run]\nlag = 1\nthreads = 3");
        let changes =
            |from: &Table, to: &Table| -> Vec<String> { between(from, to).iter().map(Change::to_string).collect() };
        assert_eq!(changes(&more, &less), ["learn.b 2 -> (left out)", "learn.c 3 -> 4"]);
        assert_eq!(changes(&less, &more), ["learn.b (left out) -> 2", "learn.c 4 -> 3"]);
        assert!(changes(&more, &more).is_empty());
    }
}
