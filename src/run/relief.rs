//! What to change when a device runs out of memory. A run is taken up again with that, as if somebody had stopped it
//! and changed the key; a command that keeps nothing begins again.

use crate::{
    Error, checkpoint,
    device::{self, Place},
    folder::Folder,
    history::{self, Change},
    log::Log,
    source::GameSource,
    trainer::Trainer,
};
use lockstep_components::{Config, config::LearnConfig};
use lockstep_systems::{AnyGame, SETTING_UP, TRAINING, setup::cohorts_of};

/// The number of rows above which the size of a batch decides how much memory a stream needs: below, it is the least
/// that a stream takes.
const FEW: usize = 256;

/// Changes the settings so that the device is asked for less at once, from this round on, and records that. Returns the
/// changes: none if the error is not that memory ran out, or there is nothing left to lower.
///
/// Training takes twice as many parts for a batch, evaluation half as many lanes at a time, and where these are few
/// already, one batch less in flight; so does what is only set up, because each batch in flight has weights of its own.
/// A [`Place`] counts the batches in flight: look for it again.
///
/// Only the holder of the folder's lock may call this, with nobody writing to the log.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn relieve(
    game: AnyGame,
    config: &mut Config,
    place: &Place,
    folder: &Folder,
    round: u64,
    error: &lockstep_systems::Error,
) -> Result<Vec<Change>, Error> {
    let lockstep_systems::Error::OutOfMemory { doing, .. } = error else { return Ok(vec![]) };
    let before = config.clone();
    if *doing == TRAINING {
        let parts = more_parts(&config.learn);
        config.learn.accumulation = parts;
        // The games of the round may have ended: what decides how they are learned from is in their segment.
        Log::of(folder).amend(game, round, |settings| settings.learn.accumulation = parts)?;
    } else {
        let lanes = place.lanes(&config.lanes);
        let size = cohorts_of(&game.info, &lanes, &config.search).size();
        if (size <= FEW || *doing == SETTING_UP) && lanes.in_flight > 1 {
            (config.lanes.cohort, config.lanes.in_flight) = (size as u32, lanes.in_flight - 1);
        } else if size > 1 {
            config.lanes.cohort = (size / 2) as u32;
        }
    }
    let changes = history::differences(&before, config);
    history::record(folder, round, &changes)?;
    Ok(changes)
}

/// Works on the run in a folder, again with less at once whenever the device runs out of memory: `place` and `config`
/// are then changed, and `told` gets the reason. Only the holder of the folder's lock may call this.
///
/// # Errors
/// The errors of `work`, and that of the device where nothing is left to lower.
pub fn relieved<T>(
    game: AnyGame,
    config: &mut Config,
    place: &mut Place,
    folder: &Folder,
    mut work: impl FnMut(&Config, &Place) -> Result<T, Error>,
    mut told: impl FnMut(&str),
) -> Result<T, Error> {
    loop {
        let error = match work(config, place) {
            Err(Error::Systems(error)) => error,
            done => return done,
        };
        let round = checkpoint::generations(folder)?.last().map_or(1, |reached| reached + 1);
        lower(game, config, place, folder, round, error, &mut told)?;
    }
}

/// Works on a run, which is opened again with less at once whenever the device runs out of memory: `place` and `config`
/// are then changed, and `told` gets the reason. Returns the run and what `work` has returned. Only the holder of the
/// folder's lock may call this.
///
/// # Errors
/// The errors of `work` and `open`, and that of the device where nothing is left to lower.
pub fn worked<T, S: GameSource>(
    game: AnyGame,
    config: &mut Config,
    place: &mut Place,
    folder: &Folder,
    mut run: Trainer<S>,
    mut work: impl FnMut(&mut Trainer<S>, &Config) -> Result<T, Error>,
    mut open: impl FnMut(&Config, &Place) -> Result<Trainer<S>, Error>,
    mut told: impl FnMut(&str),
) -> Result<(Trainer<S>, T), Error> {
    loop {
        let error = match work(&mut run, config) {
            Err(Error::Systems(error)) => error,
            done => return done.map(|done| (run, done)),
        };
        let round = run.generation() + 1;
        // Nobody writes to the folder, or holds memory of the device, while it is changed.
        drop(run);
        lower(game, config, place, folder, round, error, &mut told)?;
        run = relieved(game, config, place, folder, &mut open, &mut told)?;
    }
}

/// Asks the device for less at once from this round on, after it has run out of memory; returns any other error, and
/// this one where nothing is left to lower.
fn lower(
    game: AnyGame,
    config: &mut Config,
    place: &mut Place,
    folder: &Folder,
    round: u64,
    error: lockstep_systems::Error,
    told: &mut impl FnMut(&str),
) -> Result<(), Error> {
    place.device.memory_cleanup();
    let changes = relieve(game, config, place, folder, round, &error)?;
    if changes.is_empty() {
        return Err(error.into());
    }
    *place = device::place_of(config)?;
    told(&format!("generation {round}: {error}. The run goes on with {}.", history::list(&changes)));
    Ok(())
}

/// Returns twice as many parts of a batch, as far as there are positions for them, and at most 1,000.
pub fn more_parts(learn: &LearnConfig) -> usize {
    (2 * learn.accumulation).min(learn.batch_size).min(1_000)
}

/// Works with this many lanes, and with half as many whenever the device runs out of memory.
///
/// # Errors
/// The errors of `work`; where the memory does not suffice for one lane, the error says what to do.
pub fn with_fewer_lanes<T>(mut lanes: u32, mut work: impl FnMut(u32) -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match work(lanes) {
            Err(Error::Systems(lockstep_systems::Error::OutOfMemory { .. })) if lanes > 1 => lanes /= 2,
            Err(Error::Systems(error @ lockstep_systems::Error::OutOfMemory { .. })) => {
                return Err(Error::Usage(format!(
                    "{error}, for one game at a time; end what else uses the device, or take another (run.device, --device)"
                )));
            }
            done => return done,
        }
    }
}
