//! The schedule that takes one step of the optimiser.

mod fused;
mod learner;
mod sample;
mod step;

pub use learner::{Learner, Losses, Progress, Saved};
pub use sample::{Sampling, TrainingBatch, sample};
pub use step::{publish, step};

use crate::{Error, Evaluator, Failure, Network, drain, error::healthy};
use bevy_ecs::{prelude::*, schedule::ScheduleLabel};
use lockstep_components::Game;

/// The label of the schedule.
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learn;

/// The sets of [`Learn`] in run order.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LearnSystems {
    /// A batch is drawn from the replay buffer.
    Sample,
    /// The optimiser takes a step.
    Step,
    /// After the last step of a generation the agents get the new network.
    Publish,
}

/// Makes an evaluator from a network: how it is frozen, and where it runs.
#[derive(Resource)]
pub struct EvaluatorFactory(pub Box<dyn Fn(&Network) -> Box<dyn Evaluator> + Send + Sync>);

/// The whole schedule. It needs a [`Learner`], a [`lockstep_components::Replay`] and an [`EvaluatorFactory`].
pub fn learn_schedule<G: Game>() -> Schedule {
    let mut schedule = Schedule::new(Learn);
    schedule.set_executor(bevy_ecs::schedule::SingleThreadedExecutor::new());
    use LearnSystems::*;
    schedule.configure_sets((Sample, Step, Publish).chain());
    for set in [Sample, Step, Publish] {
        schedule.configure_sets(set.run_if(healthy));
    }
    schedule.add_systems((sample::<G>.in_set(Sample), step.in_set(Step), publish::<G>.in_set(Publish)));
    schedule
}

/// Runs [`Learn`] once: one step. True when it was the last one of the generation. Batches in flight are received first,
/// because the network changes.
///
/// # Errors
/// The first error of a system.
pub fn run_learn(world: &mut World) -> Result<bool, Error> {
    drain(world)?;
    world.run_schedule(Learn);
    match &world.resource::<Failure>().0 {
        Some(error) => Err(error.clone()),
        None => Ok(world.resource::<Learner>().is_idle()),
    }
}
