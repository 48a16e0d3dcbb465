//! The runs of a folder, and what can be removed of one without keeping it from going on.

use crate::{
    Error,
    checkpoint::{self, Checkpoint, Manifest},
    folder::{Folder, sync_dir},
    games, history,
    insight::{fork, strength::Strength},
    log::Log,
    settings::{self, Source},
    trainer::first_needed,
};
use lockstep_components::Config;
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A run as it lies in its folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// The folder of the run.
    pub run: PathBuf,
    /// What the run does.
    pub state: State,
    /// The name of the game; empty where the settings cannot be read.
    pub game: String,
    /// The generation of the newest checkpoint; 0 before there is one.
    pub generation: u64,
    /// The number of generations that the run is to have.
    pub generations: u64,
    /// The generations that have a checkpoint.
    pub checkpoints: Vec<u64>,
    /// The bytes of all files in the folder.
    pub bytes: u64,
    /// The bytes of those files that another run has as well, because one of them is a fork of the other.
    pub shared_bytes: u64,
    /// The run and the generation that the run was forked from, if it was.
    pub forked_from: Option<String>,
    /// How strong the newest player is that was measured.
    pub strength: Option<Measured>,
    /// Why the run cannot be used, where its state is `damaged`.
    pub error: Option<String>,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A process trains it.
    Training,
    /// It has all of its generations.
    Finished,
    /// It can go on.
    Stopped,
    /// Its settings or its newest checkpoint cannot be read.
    Damaged,
}

/// How strong a player was found to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The generation of the player; none where it is not known.
    pub generation: Option<u64>,
    /// The number of positions in which the player was graded, and of those in which its move was a mistake.
    pub mistakes: Option<[u64; 2]>,
    /// The number of simulations for each move.
    pub simulations: Option<u32>,
    /// The strength in Elo above plain Monte-Carlo tree search, in a game without an oracle.
    pub elo: Option<f64>,
}

/// Returns the runs below a folder, in the order of their names: those that lie in it, and the folder itself if it is a run.
/// Nothing is written, and the runs may train meanwhile.
///
/// # Errors
/// When the folder cannot be read.
pub fn runs_in(dir: &Path) -> Result<Vec<Listed>, Error> {
    if Folder::at(dir).is_run() {
        return Ok(vec![look_at(dir)]);
    }
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, _>>().map_err(Error::io("read", dir))?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Folder::at(path).is_run() && !fork::is_partial(&name)
    });
    paths.sort();
    Ok(paths.iter().map(|path| look_at(path)).collect())
}

/// Returns what can be seen of a run.
pub fn look_at(run: &Path) -> Listed {
    let folder = Folder::at(run);
    let checkpoints = checkpoint::generations(&folder).unwrap_or_default();
    let generation = checkpoints.last().copied().unwrap_or(0);
    let read = settings::load(Source::File(&folder.config()), &[]).and_then(|config| {
        if generation > 0 {
            Manifest::read(&folder.checkpoints().join(generation.to_string()))?;
        } else if folder.was_saved() && checkpoints.is_empty() {
            return Err(folder.checkpoints_are_gone());
        }
        Ok(config)
    });
    let is_in_use = folder.is_in_use();
    let (config, error) = match read {
        Ok(config) => (Some(config), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let generations = config.as_ref().map_or(0, |config| config.run.generations);
    let (bytes, shared_bytes) = size(run);
    Listed {
        run: run.into(),
        state: match config {
            _ if is_in_use => State::Training,
            None => State::Damaged,
            Some(_) if generation >= generations => State::Finished,
            Some(_) => State::Stopped,
        },
        strength: config.as_ref().and_then(|config| measured(&folder, config)),
        game: config.map_or(String::new(), |config| config.game.name),
        generation,
        generations,
        checkpoints,
        bytes,
        shared_bytes,
        forked_from: history::origins(&folder).pop().map(|origin| origin.forked_from),
        error,
    }
}

/// Returns how strong a run is: by the last line of its `strength.jsonl`, or else by its verdict.
fn measured(folder: &Folder, config: &Config) -> Option<Measured> {
    if let Some(last) = Strength::load(folder).unwrap_or_default().last() {
        let mistakes = last.with(config.run.grade_simulations);
        return Some(Measured {
            generation: Some(last.generation),
            mistakes: mistakes.map(|of| [of.positions, of.mistakes]),
            simulations: mistakes.map(|of| of.simulations),
            elo: last.played.as_ref().map(|played| played.elo),
        });
    }
    let text = fs::read_to_string(folder.verdict()).ok()?;
    let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let sets = lines.iter().filter_map(|line| Some([line["positions"].as_u64()?, line["mistakes"].as_u64()?]));
    let mistakes = sets.reduce(|a, b| [a[0] + b[0], a[1] + b[1]])?;
    Some(Measured {
        generation: lines[0]["checkpoint"].as_str().and_then(|name| name.parse().ok()),
        mistakes: Some(mistakes),
        simulations: lines[0]["simulations"].as_u64().map(|n| n as u32),
        elo: None,
    })
}

/// Returns the bytes of all files below a path, and of those that have another name elsewhere. What cannot be read, or is
/// removed meanwhile, counts as nothing.
fn size(path: &Path) -> (u64, u64) {
    let Ok(about) = fs::symlink_metadata(path) else { return (0, 0) };
    if !about.is_dir() {
        return (about.len(), if has_other_names(&about) { about.len() } else { 0 });
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).fold((0, 0), |sum, (all, shared)| (sum.0 + all, sum.1 + shared))
}

#[cfg(unix)]
fn has_other_names(about: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(about) > 1
}

/// Elsewhere the system does not tell.
#[cfg(not(unix))]
fn has_other_names(_: &fs::Metadata) -> bool {
    false
}

/// What can be removed of a run. It was found under the lock of the run's folder, which is held as long as this lives.
#[derive(Debug)]
pub struct Plan {
    folder: Folder,
    /// The generations whose checkpoints go.
    pub checkpoints: Vec<u64>,
    /// The rounds whose games go.
    pub rounds: Vec<u64>,
    /// What programs have left that were killed: checkpoints that were being written or removed.
    pub leftovers: Vec<PathBuf>,
    /// The generations whose checkpoints stay: the run can go on from each but that of generation 0, which it began with.
    pub kept: Vec<u64>,
    /// The bytes that are freed.
    pub frees: u64,
    /// The bytes of files that go and are kept by a fork, or by the run that this one is a fork of.
    pub shared: u64,
    _lock: fs::File,
}

/// Returns what can be removed of a run so that it can still go on from its newest checkpoints: as many as `keep` says, or as
/// `run.checkpoints` says without it. Nothing is removed yet.
///
/// # Errors
/// When there is no run, when another process trains in the folder, when the run has no checkpoint, or when one of those that
/// are to stay, or its games, cannot be read: what is older may be all that is sound then.
pub fn plan(run: &Path, keep: Option<usize>) -> Result<Plan, Error> {
    let folder = Folder::of_run(run)?;
    let lock = folder.lock()?;
    let config = settings::load(Source::File(&folder.config()), &[])?;
    let game = games::named(&config.game.name)?;
    let generations = checkpoint::generations(&folder)?;
    if generations.is_empty() {
        checkpoint::find(&folder, None)?;
    }
    let keep = keep.unwrap_or(config.run.checkpoints).max(1);
    let newest: Vec<u64> = generations.iter().rev().take(keep).rev().copied().collect();
    let path = |generation: u64| folder.checkpoints().join(generation.to_string());
    let log = Log::of(&folder);
    let mut is_needed = std::collections::BTreeSet::new();
    for &generation in &newest {
        is_needed.extend(Checkpoint::read(game, &path(generation))?.manifest.segments.into_keys());
    }
    for &round in &is_needed {
        log.read(game, round)?.filter(|segment| segment.whole).ok_or_else(|| log.missing(round))?;
    }
    // No seed makes again what a run was given to begin with.
    let given = generations
        .first()
        .filter(|&&first| first == 0 && Manifest::read(&path(0)).is_ok_and(|manifest| manifest.from_weights));
    let stays = |generation: &u64| newest.contains(generation) || given == Some(generation);
    let oldest = newest.iter().copied().find(|&generation| generation > 0).unwrap_or(0);
    let of_run: Vec<u64> = newest.iter().copied().filter(|&generation| generation > 0).collect();
    let first = first_needed(game, &config, &folder, oldest, &of_run, |round| is_needed.contains(&round))?;
    let checkpoints: Vec<u64> = generations.iter().copied().filter(|generation| !stays(generation)).collect();
    let rounds: Vec<u64> = log.rounds()?.into_iter().filter(|&round| round < first).collect();
    let leftovers = checkpoint::leftovers(&folder)?;
    let gone = checkpoints.iter().map(|&generation| path(generation));
    let gone = gone.chain(rounds.iter().map(|&round| log.whole(round))).chain(leftovers.iter().cloned());
    let (bytes, shared) = gone.map(|path| size(&path)).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    Ok(Plan {
        kept: generations.iter().copied().filter(stays).collect(),
        folder,
        checkpoints,
        rounds,
        leftovers,
        frees: bytes - shared,
        shared,
        _lock: lock,
    })
}

impl Plan {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.checkpoints.is_empty() && self.rounds.is_empty() && self.leftovers.is_empty()
    }

    /// Returns the folder of the run.
    pub fn run(&self) -> &Path {
        self.folder.path()
    }

    /// Removes what the plan names: checkpoints before the games that they were learned from, so that the run can go on and
    /// is sound wherever this ends.
    ///
    /// # Errors
    /// When something cannot be removed. What comes after it in the plan is still there then.
    pub fn carry_out(&self) -> Result<(), Error> {
        for &generation in &self.checkpoints {
            checkpoint::take_away(&self.folder, generation)?;
        }
        sync_dir(&self.folder.checkpoints())?;
        let log = Log::of(&self.folder);
        for path in self.rounds.iter().map(|&round| log.whole(round)) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        for path in &self.leftovers {
            fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
        }
        Ok(())
    }
}
