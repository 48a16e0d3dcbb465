//! What a run keeps in its folder beside the games, and how it is taken up again.

use super::Trainer;
use crate::{
    Error,
    checkpoint::{self, Checkpoint, Manifest},
    error::Fault,
    folder::{Folder, or_warn},
    log::{self, Log},
    run::probe::probe,
    source::GameSource,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, ReplayBuffer};
use lockstep_systems::{AnyGame, Evaluations, EvaluatorFactory, Learner, Network, learn::Saved};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

impl<S: GameSource> Trainer<S> {
    pub(super) fn restore(&mut self, checkpoint: Checkpoint, log: &Log) -> Result<(), Error> {
        let Manifest { progress, segments, .. } = &checkpoint.manifest;
        let removes = !(self.config.run.keep_log && checkpoint.config.run.keep_log);
        if let Some(path) = segments.keys().map(|&round| log.whole(round)).find(|path| removes && !path.exists()) {
            let message = format!(
                "the checkpoint of generation {} has learned from its games, and run.keep_log = false keeps those of the \
                 newest checkpoints alone: this one is a player, and no place to go on from",
                progress.generation
            );
            return Err(Error::Log { path, fault: Fault::Removed, message });
        }
        self.fill_replay(log, progress.generation, segments)?;
        self.restore_learned(checkpoint)
    }

    /// Restores all that a checkpoint keeps, but for the games that it has learned from.
    pub(super) fn restore_learned(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        let Checkpoint { manifest, tensors, trained, earlier, optimizer, own, .. } = checkpoint;
        self.hooks.put_back(&mut worlds(&mut self.source, &mut self.learning), &own)?;
        self.kept = own;
        let Manifest { progress, seconds, from_weights, .. } = manifest;
        // The versions that did not say so have made a checkpoint 0 of nothing else.
        self.from_weights = from_weights || progress.generation == 0;
        *self.learning.resource_mut::<ReplayBuffer>().total() = progress.positions;
        self.networks.clear();
        let mut learner = self.learning.resource_mut::<Learner>();
        for (generation, tensors) in earlier {
            self.networks.push_back((generation, learner.network.with_tensors(tensors)?));
        }
        learner.restore(Saved { tensors, trained, optimizer, progress })?;
        self.networks.push_back((progress.generation, learner.playing().snapshot()));
        self.seconds = seconds;
        Ok(())
    }

    /// Fills the replay buffer with the games of the rounds up to this one. Those that a checkpoint names in `segments`
    /// must be there, with these digests.
    pub(super) fn fill_replay(&mut self, log: &Log, round: u64, segments: &BTreeMap<u64, String>) -> Result<(), Error> {
        let window = widest_window(self.game, &self.config, log, round + 1)?;
        let rounds = log.window(self.game, round, window, |round| segments.contains_key(&round))?;
        self.oldest = rounds.first().copied().unwrap_or(1);
        let mut replay = self.learning.resource_mut::<ReplayBuffer>();
        replay.set_window(window);
        for round in rounds {
            let segment =
                log.read(self.game, round)?.filter(|segment| segment.whole).ok_or_else(|| log.missing(round))?;
            let own = log.digest(round)?;
            if segments.get(&round).is_some_and(|digest| *digest != own) {
                let message = "they are not the games that the checkpoint has learned from".into();
                return Err(Error::Log { path: log.whole(round), fault: Fault::Damaged, message });
            }
            segment.games.iter().for_each(|game| replay.push(game));
        }
        Ok(())
    }

    /// Returns what has been learned by the end of the last generation, though the next one may be learned already.
    ///
    /// # Errors
    /// When the network, what it evaluates, its optimiser or its losses are not finite.
    pub fn saved(&mut self) -> Result<Saved, Error> {
        let mut learner = self.learning.resource_mut::<Learner>();
        let saved = lockstep_systems::Error::guard("reading the weights", || learner.save())?;
        self.evaluate_once(self.learning.resource::<Learner>().playing())?;
        Ok(saved)
    }

    /// Evaluates the start of the game with a network, as the games will: weights can be finite and what they compute
    /// not.
    fn evaluate_once(&self, network: &Network) -> Result<(), Error> {
        let mut evaluator = self.learning.resource::<EvaluatorFactory>().make(network)?;
        let mut out = Evaluations::new(1, self.game.info.actions);
        evaluator.evaluate(&self.game.batch(std::slice::from_ref(&self.start)), &mut out)?;
        if out.logits.iter().chain(&out.values).all(|x| x.is_finite()) {
            return Ok(());
        }
        let learner = self.learning.resource::<Learner>();
        Err(learner.diverged("the network's evaluation of the start").into())
    }

    /// Writes a checkpoint of the last generation that has ended into a run folder, unless it is there already, and
    /// removes what is not needed any more, as far as that goes.
    ///
    /// # Errors
    /// When the checkpoint cannot be written, and the errors of [`Trainer::saved`].
    pub fn save(&mut self, folder: &Folder) -> Result<(), Error> {
        if checkpoint::of_generation(folder, self.generation()).is_some() {
            return Ok(());
        }
        let began = Instant::now();
        let saved = self.saved()?;
        // The newest one is what was saved.
        let earlier = self.networks.iter().rev().skip(1).rev().map(|(kept, network)| (*kept, network.tensors()));
        let earlier = lockstep_systems::Error::guard("reading the weights", || Ok(earlier.collect()))?;
        let segments = match &self.log {
            None => BTreeMap::new(),
            Some(log) => {
                let needed = |round| round >= self.oldest;
                let window = log.window(self.game, saved.progress.generation, self.config.replay.window, needed)?;
                log::digests(log, &window)?
            }
        };
        let config = self.config.clone();
        // What nobody has asked for is kept as it is.
        let mut own = self.kept.clone();
        own.extend(self.hooks.kept(&mut worlds(&mut self.source, &mut self.learning))?);
        let probe = probe(self.game, &self.place)?;
        let mut checkpoint = Checkpoint::new(self.game, saved, earlier, config, self.seconds, segments, probe, own);
        checkpoint.manifest.from_weights = self.from_weights;
        checkpoint.write(self.game, folder, &self.search)?;
        folder.mark_saved()?;
        checkpoint::prune(folder, self.generation(), &self.config.run);
        or_warn(&folder.log(), self.thin(folder));
        self.wrote(began.elapsed());
        Ok(())
    }

    /// Counts time that the caller has spent on writing what belongs to this run, for the metrics of the next
    /// generation.
    pub fn wrote(&mut self, time: Duration) {
        self.seconds.write += time.as_secs_f64();
        self.seconds.this_write += time.as_secs_f64();
    }

    /// Removes the games that no checkpoint needs to go on from, unless all are to be kept.
    fn thin(&self, folder: &Folder) -> Result<(), Error> {
        let (Some(log), false) = (&self.log, self.config.run.keep_log) else { return Ok(()) };
        let mut generations = checkpoint::generations(folder)?;
        // What the run began with has no games before it.
        generations.retain(|&generation| {
            generation > 0 && checkpoint::is_recent(generation, self.generation(), &self.config.run)
        });
        let Some(&oldest) = generations.first() else { return Ok(()) };
        let is_there = |round| round >= self.oldest;
        log.thin(first_needed(self.game, &self.config, folder, oldest, &generations, is_there)?)
    }
}

/// Returns the first round whose games are needed to go on from the checkpoints of these generations, of which `oldest` is
/// the first, and to look at each with the settings that it was made with. The rounds that `is_there` holds for must be in
/// the log.
///
/// # Errors
/// When a checkpoint or a segment of the log cannot be used.
pub fn first_needed(
    game: AnyGame,
    config: &Config,
    folder: &Folder,
    oldest: u64,
    generations: &[u64],
    is_there: impl Fn(u64) -> bool,
) -> Result<u64, Error> {
    let log = Log::of(folder);
    let mut window = widest_window(game, config, &log, oldest + 1)?;
    for generation in generations {
        let path = folder.checkpoints().join(generation.to_string());
        window = window.max(checkpoint::read_config(&path)?.replay.window);
    }
    let needed = log.window(game, oldest, window, is_there)?;
    Ok(needed.first().copied().unwrap_or(oldest + 1))
}

/// Returns the worlds of a run that are in this process.
fn worlds<'a>(source: &'a mut impl GameSource, learning: &'a mut World) -> Vec<&'a mut World> {
    source.world().into_iter().chain([learning]).collect()
}

/// Returns the widest replay window, in positions, that a round from `first` on is learned with: a round that has begun
/// keeps the window that it has begun with. What is learned then depends on the log alone, and not on where a run was
/// stopped.
///
/// # Errors
/// When a segment of the log cannot be used.
pub fn widest_window(game: AnyGame, config: &Config, log: &Log, first: u64) -> Result<usize, Error> {
    let mut widest = config.replay.window;
    for (path, header) in log.headers(game, first)? {
        widest = widest.max(header.settings_of(config, &path)?.replay.window);
    }
    Ok(widest)
}

/// Turns an error of weights or of the optimiser into that of a checkpoint whose parts are sound, and not of this
/// network. Any other error is returned as it is.
pub(super) fn does_not_fit(error: Error, path: PathBuf) -> Error {
    use lockstep_systems::Error::{Optimizer, Weights};
    match error {
        Error::Systems(e @ (Weights(_) | Optimizer(_))) => {
            Error::Checkpoint { path, fault: Fault::Unfit, message: e.to_string() }
        }
        e => e,
    }
}
