//! What to change when a device runs out of memory in the middle of a run. The run is then taken up again with that, as if
//! somebody had stopped it and changed the key.

use crate::{
    Error,
    device::Place,
    folder::Folder,
    history::{self, Change},
    log::Log,
};
use lockstep_components::{Config, Game};
use lockstep_systems::{TRAINING, setup::cohorts_of};

/// Changes the settings so that the device is asked for less at once, from this round on, and records that. Returns what it
/// has changed: nothing if the error is another one, or there is nothing left to lower.
///
/// Training takes twice as many parts for a batch, evaluation half as many lanes at a time.
///
/// # Errors
/// When the folder cannot be written. Only for the holder of its lock, with nobody writing to its log.
pub fn relieve<G: Game>(
    config: &mut Config,
    place: &Place,
    folder: &Folder,
    round: u64,
    error: &lockstep_systems::Error,
) -> Result<Vec<Change>, Error> {
    let lockstep_systems::Error::OutOfMemory { doing, .. } = error else { return Ok(vec![]) };
    let before = config.clone();
    if *doing == TRAINING {
        config.learn.accumulation = (2 * config.learn.accumulation).min(config.learn.batch_size).min(1_000);
        let parts = config.learn.accumulation;
        // The games of the round may have ended: what decides how they are learned from is in their segment.
        Log::of(folder).amend::<G>(round, |settings| settings.learn.accumulation = parts)?;
    } else {
        let lanes = cohorts_of::<G>(&place.lanes(&config.lanes), &config.search).size();
        if lanes > 1 {
            config.lanes.cohort = (lanes / 2) as u32;
        }
    }
    let changes = history::differences(&before, config);
    history::record(folder, round, &changes)?;
    Ok(changes)
}
