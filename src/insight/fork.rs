//! Forks: a run that goes on from a checkpoint of another one, with other settings from the next round on.
//!
//! A fork is a run like any other, with a folder of its own. It has a copy of the checkpoint, and hard links to the games up
//! to there: the same files under a second name, which take no room and stay when the parent removes its own. Where a file
//! system has no hard links, the games are copied. Nothing that becomes of the parent can therefore break a fork: neither
//! pruning it, nor moving it, nor removing it.
//!
//! The games of a run draw from its seed, the round and their number. Two forks of a run share that randomness, and differ
//! by what was changed alone.

use crate::{
    Error, Fault,
    checkpoint::{self, Checkpoint},
    folder::{Folder, sync, sync_dir, write_file},
    games,
    history::{self, Change, Origin},
    insight::examiner::anchors,
    log::Log,
    metrics,
    settings::{self, Source},
};
use lockstep_components::Config;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// What a fork was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// Where the fork comes from.
    pub origin: Origin,
    /// The settings that the fork goes on with.
    pub config: Config,
    /// The keys whose values are other ones from the next round on.
    pub changes: Vec<Change>,
    /// The number of rounds whose games the fork shares with its parent.
    pub rounds: usize,
    /// The number of those rounds whose games had to be copied, because the file system has no hard links between the two
    /// folders.
    pub copied: usize,
    /// What the user should know of the parent's metrics.
    pub notices: Vec<String>,
}

/// Makes a fork of a run, `RUN` or `RUN@GENERATION`, in the folder `to`, with these overrides of its settings. The parent is
/// only read, and may train meanwhile. The folder appears when all of it is there: whatever ends the program before that
/// leaves nothing that looks like a run.
///
/// # Errors
/// When there is no such checkpoint, when its games are gone, when there is something in the folder, when an override cannot
/// be used or changes a key that cannot change within a run, or when a file cannot be read or written.
pub fn fork(parent: &Path, generation: Option<u64>, to: &Path, overrides: &[String]) -> Result<Fork, Error> {
    let from = Folder::of_run(parent)?;
    Folder::to_train(to)?;
    let is_free = fs::symlink_metadata(to).is_err() || fs::read_dir(to).is_ok_and(|mut dir| dir.next().is_none());
    if !is_free {
        let message = "there is something here already; name a folder for the fork with --run that is not there yet";
        return Err(Error::Run { path: to.into(), message: message.into() });
    }
    let (Some(name), beside) = (to.file_name(), to.parent().unwrap_or(Path::new(""))) else {
        return Err(Error::Usage(format!("--run {}: name a folder for the fork", to.display())));
    };
    fs::create_dir_all(if beside.as_os_str().is_empty() { Path::new(".") } else { beside })
        .map_err(Error::io("create", beside))?;
    let partial = beside.join(partial_name(&name.to_string_lossy()));
    let folder = Folder::at(&partial);
    fs::create_dir_all(&partial).map_err(Error::io("create", &partial))?;
    // Another fork may be on its way to the same place.
    let _lock = folder.lock()?;
    let made = empty(&partial).and_then(|()| fill(&from, generation, &folder, to, overrides)).and_then(|fork| {
        fs::rename(&partial, to).map_err(Error::io("create", to))?;
        sync_dir(beside)?;
        Ok(fork)
    });
    if made.is_err() {
        // Best effort: what is left over looks like no run, and the next fork of this name begins with removing it.
        let _ = fs::remove_dir_all(&partial);
    }
    made
}

/// Returns the name of the folder in which a fork of this name is made.
fn partial_name(name: &str) -> String {
    format!(".{name}{PARTIAL}")
}

/// The end of the name of a folder in which a fork is made.
const PARTIAL: &str = ".forking";

/// Whether a folder of this name has what a fork was made of that was killed, or is being made.
pub fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(PARTIAL)
}

/// Removes what a fork that was killed has left in its folder, but for the lock.
fn empty(partial: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(partial).map_err(Error::io("read", partial))? {
        let path = entry.map_err(Error::io("read", partial))?.path();
        if !path.ends_with(".lock") {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes all of a fork in its folder.
fn fill(
    parent: &Folder,
    generation: Option<u64>,
    fork: &Folder,
    to: &Path,
    overrides: &[String],
) -> Result<Fork, Error> {
    let stored = settings::load(Source::File(&parent.config()), &[])?;
    let path = checkpoint::find(parent, generation)?;
    for dir in [fork.checkpoints(), fork.log(), fork.games()] {
        fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
    }
    // The parent may remove a checkpoint while it trains: what counts is what was copied.
    let copy = fork.checkpoints().join(path.file_name().unwrap_or_default());
    copy_folder(&path, &copy)?;
    let made_with = checkpoint::read_config(&copy)?;
    let read = Checkpoint::read(games::named(&made_with.game.name)?, &copy);
    let manifest = read.map_err(|error| in_parent(error, &path))?.manifest;
    let generation = manifest.progress.generation;
    if let Some(first) = checkpoint::of_generation(parent, 0).filter(|_| manifest.from_weights && generation > 0) {
        // No seed makes again what the parent began with.
        copy_folder(&first, &fork.checkpoints().join("0"))?;
    }
    let config = settings::with_essence(&stored, &settings::essence(&made_with))?;
    let changed = settings::parse(&settings::to_text(&config), "the settings of the checkpoint", overrides)?.settled();
    if let Some(Change { key, from, to: asked, .. }) = history::unchangeable(&made_with.clone().settled(), &changed) {
        return Err(Error::Run {
            path: to.into(),
            message: format!(
                "a fork of this run has {key} = {from}, which cannot change within a run, and not {asked}; leave it out, or \
                 begin another run with the weights: lockstep train --run {} --from {}",
                to.display(),
                path.join("weights.safetensors").display()
            ),
        });
    }
    let changes = history::differences(&made_with.settled(), &changed);

    let (of_parent, own) = (Log::of(parent), Log::of(fork));
    let (mut rounds, mut copied) = (0, 0);
    for round in of_parent.rounds()?.into_iter().filter(|&round| round <= generation) {
        copied += usize::from(!link(&of_parent.whole(round), &own.whole(round))?);
        rounds += 1;
    }
    for (&round, digest) in &manifest.segments {
        let log = of_parent.whole(round);
        if !own.whole(round).exists() {
            let message = format!(
                "the checkpoint of generation {generation} has learned from its games, and they are gone (run.keep_log = \
                 false, or lockstep prune): it is a player, and nothing can be forked from it"
            );
            return Err(Error::Log { path: log, fault: Fault::Removed, message });
        }
        if own.digest(round)? != *digest {
            let message = "they are not the games that the checkpoint has learned from".into();
            return Err(Error::Log { path: log, fault: Fault::Damaged, message });
        }
    }
    for number in 1..=generation {
        let name = format!("{number:06}.txt");
        let text = parent.games().join(&name);
        if text.exists() {
            link(&text, &fork.games().join(&name))?;
        }
    }
    if parent.kernels().is_dir() {
        copy_folder(&parent.kernels(), &fork.kernels())?;
    }
    let notices = metrics::check(&parent.metrics(), generation)?;
    for name in ["metrics.jsonl", "history.jsonl", "strength.jsonl"] {
        let [from, to] = [parent, fork].map(|folder| folder.path().join(name));
        if from.exists() {
            copy_file(&from, &to)?;
            metrics::truncate(&to, generation)?;
        }
    }
    let anchors = anchors(parent).into_iter().filter(|&anchor| anchor <= generation);
    for (path, own) in anchors.map(|anchor| (parent.anchor(anchor), fork.anchor(anchor))) {
        let dir = own.parent().unwrap_or(fork.path());
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        link(&path, &own)?;
    }
    let origin = Origin { generation, forked_from: format!("{}@{generation}", parent.path().display()) };
    history::record_origin(fork, &origin)?;
    history::record(fork, generation + 1, &changes)?;
    fork.mark_saved()?;
    for dir in [fork.checkpoints(), fork.log(), fork.games()] {
        sync_dir(&dir)?;
    }
    // Last of all: without it a folder is no run.
    write_file(&fork.config(), settings::to_text(&changed).as_bytes())?;
    sync_dir(fork.path())?;
    Ok(Fork { origin, config: changed, changes, rounds, copied, notices })
}

/// Turns the error of a copied checkpoint into one of the checkpoint that it was copied from.
fn in_parent(error: Error, checkpoint: &Path) -> Error {
    match error {
        Error::Checkpoint { fault, message, .. } => Error::Checkpoint { path: checkpoint.into(), fault, message },
        error => error,
    }
}

/// Gives a file a second name, or copies it where the file system refuses that. Returns whether it is the same file.
fn link(from: &Path, to: &Path) -> Result<bool, Error> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(true);
    }
    copy_file(from, to).map(|()| false)
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map_err(Error::io("copy", from))?;
    sync(&File::open(to).map_err(Error::io("open", to))?, to)
}

/// Copies a folder with the files and folders in it.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir(to).map_err(Error::io("create", to))?;
    let entries = fs::read_dir(from).map_err(Error::io("read", from))?;
    let paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, _>>().map_err(Error::io("read", from))?;
    for path in paths {
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_folder(&path, &to)? } else { copy_file(&path, &to)? }
    }
    sync_dir(to)
}
