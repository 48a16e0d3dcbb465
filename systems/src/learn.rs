//! The schedule that takes one step of the optimiser.

mod adamw;
mod fused;
mod learner;
mod losses;
mod sample;
mod step;

pub use learner::{Learner, Losses, Progress, Saved};
pub use sample::{Sampling, TrainingBatch, sample};
pub use step::{gradients, publish, step};

use crate::{
    AnyGame, Error, Evaluator, Failure, Network, Plugin, drain,
    error::{EVALUATING, gate},
};
use bevy_ecs::{prelude::*, schedule::ScheduleLabel};
use lockstep_components::{ReplayBuffer, config::ReplayConfig};

/// The label of the schedule that takes one step of the optimiser; [`run_learn`] runs it.
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learn;

/// The sets of [`Learn`] in run order.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LearnSystems {
    /// A batch is drawn from the replay buffer.
    Sample,
    /// The optimiser takes a step.
    Step,
    /// After the last step of a generation the agents of the same world get the new network.
    Publish,
}

/// Makes evaluators from networks: the function decides how a network is frozen and on which device it runs.
#[derive(Resource)]
pub struct EvaluatorFactory(pub Box<dyn Fn(&Network) -> Box<dyn Evaluator> + Send + Sync>);

impl EvaluatorFactory {
    /// Makes the evaluator of a network.
    ///
    /// # Errors
    /// When the device fails.
    pub fn make(&self, network: &Network) -> Result<Box<dyn Evaluator>, Error> {
        Error::guard(EVALUATING, || Ok(self.0(network)))
    }
}

/// The message that an agent has got a new network. [`Learn`] sends it at the end of a generation, and it can be read
/// until the generation after the next one ends.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The generation that has ended.
    pub generation: u64,
    /// The number of the agent that has got the network of this generation.
    pub agent: usize,
}

/// A plugin that adds [`Learn`] and the resources that it needs.
pub struct Learning {
    /// The network in training, with its optimiser.
    pub learner: Learner,
    /// Makes the evaluators for agents in the same world.
    pub factory: EvaluatorFactory,
    /// The replay buffer, to which whoever plays games has to add them.
    pub buffer: ReplayBuffer,
    /// How the buffer is sampled.
    pub replay: ReplayConfig,
}

impl Learning {
    /// A plugin with an empty replay buffer for games under the game's usual rules.
    pub fn new(game: AnyGame, learner: Learner, factory: EvaluatorFactory, replay: ReplayConfig) -> Self {
        Self { learner, factory, buffer: game.replay(&game.usual_start(), replay.window), replay }
    }
}

impl Plugin for Learning {
    fn build(self, world: &mut World) {
        world.insert_resource(self.buffer);
        world.insert_resource(Sampling(self.replay));
        world.insert_resource(TrainingBatch::default());
        world.insert_resource(self.learner);
        world.insert_resource(self.factory);
        world.init_resource::<Failure>();
        world.init_resource::<Messages<Published>>();
        let mut schedule = Schedule::new(Learn);
        schedule.set_executor(bevy_ecs::schedule::SingleThreadedExecutor::new());
        use LearnSystems::*;
        schedule.configure_sets((Sample, Step, Publish).chain());
        schedule.add_systems((sample.in_set(Sample), step.in_set(Step), publish.in_set(Publish)));
        gate(&mut schedule);
        world.add_schedule(schedule);
    }
}

/// Runs [`Learn`] once, which takes one step of the optimiser, and returns whether it was the last step of the
/// generation. Batches in flight are received first, because an evaluator may be replaced.
///
/// # Errors
/// The first error of a system.
pub fn run_learn(world: &mut World) -> Result<bool, Error> {
    if world.contains_resource::<crate::Cohorts>() {
        drain(world)?;
    }
    world.schedule_scope(Learn, |world, schedule| {
        gate(schedule);
        schedule.run(world);
    });
    world.resource::<Failure>().result().map(|()| world.resource::<Learner>().is_idle())
}
