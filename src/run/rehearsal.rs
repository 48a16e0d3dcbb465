//! What a run will do, done once before it begins: a batch of each size, and a training step. Kernels are tuned by it,
//! and what does not fit shows before anything is played.

use crate::{
    Error,
    device::{self, Place, check},
    measure,
    text::{bytes, duration, number},
};
use lockstep_components::Config;
use lockstep_systems::{AnyGame, Batch, Evaluations, Evaluator, TRAINING};
use std::time::Instant;

/// What a rehearsal has measured: how long things took, and the device's memory that they reserved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rehearsal {
    /// The number of rows of each batch, and the seconds of its evaluation.
    pub evaluations: Vec<(usize, f64)>,
    /// The seconds of a training step.
    pub step: f64,
    /// The seconds by which first times took longer than second ones: in them kernels are compiled and tuned.
    pub tuning: f64,
    /// The bytes of the device's memory that evaluation and training have reserved, where the device tells.
    pub reserved: Option<[u64; 2]>,
}

/// The number of games whose positions the rehearsed step learns from.
const GAMES: usize = 2;

impl Rehearsal {
    /// Evaluates a batch of each size and learns a step, with networks that are then dropped: both have to fit at once,
    /// as in the run.
    ///
    /// # Errors
    /// When the device fails, or computes what is wrong.
    pub fn of(game: AnyGame, config: &Config, place: &Place) -> Result<Self, Error> {
        let mut done = Self::default();
        let evaluation = reserved_by(place, || done.evaluate(game, config, place));
        let (_evaluator, evaluation) = evaluation?;
        let training = reserved_by(place, || done.learn(game, config, place));
        let ((), training) = training?;
        done.reserved = evaluation.zip(training).map(<[u64; 2]>::from);
        Ok(done)
    }

    fn evaluate(&mut self, game: AnyGame, config: &Config, place: &Place) -> Result<Box<dyn Evaluator>, Error> {
        let capacity = device::batch_capacity(game, config, place);
        let mut evaluator = measure::evaluator(game, config, place, capacity)?;
        let sizes = evaluator.capabilities().batch_sizes;
        for rows in if sizes.is_empty() { vec![capacity] } else { sizes } {
            let (batch, mut out) = (Batch::random(&game.info, rows), Evaluations::new(rows, game.info.actions));
            let seconds = self.twice(|| Ok(evaluator.evaluate(&batch, &mut out)?))?;
            self.evaluations.push((rows, seconds));
        }
        Ok(evaluator)
    }

    fn learn(&mut self, game: AnyGame, config: &Config, place: &Place) -> Result<(), Error> {
        let mut world = lockstep_systems::Error::guard(TRAINING, || check::learner_world(game, config, place, GAMES))?;
        self.step = self.twice(|| measure::step(&mut world, place))?;
        Ok(())
    }

    /// Works twice, and returns the seconds of the second time; what the first time took longer is added to the tuning.
    fn twice(&mut self, mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
        let mut time = || -> Result<f64, Error> {
            let start = Instant::now();
            work()?;
            Ok(start.elapsed().as_secs_f64())
        };
        let (first, second) = (time()?, time()?);
        self.tuning += (first - second).max(0.0);
        Ok(second)
    }
}

/// Works, and returns as well how many bytes of the device's memory that has reserved, where the device tells. What
/// `work` does not return is given back.
fn reserved_by<T>(place: &Place, work: impl FnOnce() -> Result<T, Error>) -> Result<(T, Option<u64>), Error> {
    // What was reserved and is used no more would be taken first.
    place.device.memory_cleanup();
    let before = place.reserved();
    let made = work()?;
    let after = place.reserved();
    place.device.memory_cleanup();
    Ok((made, after.zip(before).map(|(after, before)| after.saturating_sub(before))))
}

/// Returns the error of a rehearsal for the user, with the keys to change before a run begins if something did not fit
/// into the memory of the device. Any other error is returned as it is.
pub fn name_keys(error: Error, config: &Config) -> Error {
    let Error::Systems(lockstep_systems::Error::OutOfMemory { doing, message }) = error else { return error };
    let keys = if doing == TRAINING {
        format!(
            "raise learn.accumulation (now {}), which takes a batch in parts, or lower learn.batch_size ({})",
            config.learn.accumulation, config.learn.batch_size
        )
    } else {
        format!(
            "lower lanes.cohort (now {}; 0 takes all lanes divided by the batches in flight), lanes.count ({}), \
             lanes.leaves_per_tree ({}) or lanes.in_flight ({}; 0 takes 2)",
            config.lanes.cohort, config.lanes.count, config.lanes.leaves_per_tree, config.lanes.in_flight
        )
    };
    Error::Usage(format!(
        "a rehearsal of the run did not fit into the memory of the device, while {doing} ({message}); {keys}, or take a \
         smaller network (network.channels, network.blocks)"
    ))
}

impl std::fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = |seconds: f64| match seconds {
            s if s < 0.01 => format!("{:.1} ms", s * 1e3),
            s if s < 1.0 => format!("{:.0} ms", s * 1e3),
            s => format!("{s:.1} s"),
        };
        for (rows, seconds) in &self.evaluations {
            write!(f, "{} evaluated in {}, ", number(*rows as u64, "position"), time(*seconds))?;
        }
        write!(f, "a training step in {}", time(self.step))?;
        if self.tuning > 1.0 {
            write!(f, ", after {} for choosing and compiling kernels", duration(self.tuning))?;
        }
        if let Some([evaluation, training]) = self.reserved {
            let [evaluation, training] = [evaluation, training].map(|n| bytes(n as usize));
            write!(f, "; memory of the device: {evaluation} for evaluation, {training} for training")?;
        }
        Ok(())
    }
}
