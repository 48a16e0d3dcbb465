//! The schedule that advances every lane by at least one simulation.

use crate::{
    Error, Failure, SelectionRule, act::act, analyse::answer, collect::collect, error::healthy, evaluate::evaluate,
    Cohorts, expand::expand, root::root, select::select,
};
use bevy_ecs::{prelude::*, schedule::ScheduleLabel};
use lockstep_components::{Game, Stats};

/// The label of the schedule.
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tick;

/// The sets of [`Tick`] in run order. Put a system of your own before, after or into one of them.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TickSystems {
    /// Searches that begin get their budget and noise.
    Root,
    /// Trees are descended to leaves.
    Select,
    /// Leaves become batches.
    Collect,
    /// Batches are evaluated.
    Evaluate,
    /// Evaluations become nodes and are backed up.
    Expand,
    /// Complete searches play their move.
    Act,
}

/// The whole schedule for playing games: self-play with one agent, a match with two.
pub fn tick_schedule<G: Game, R: SelectionRule>() -> Schedule {
    let mut schedule = search_schedule::<G, R>();
    schedule.add_systems(act::<G>.in_set(TickSystems::Act));
    schedule
}

/// The same search for answering [`crate::Questions`] instead of playing.
pub fn analysis_schedule<G: Game, R: SelectionRule>() -> Schedule {
    let mut schedule = search_schedule::<G, R>();
    schedule.add_systems(answer::<G>.in_set(TickSystems::Act));
    schedule
}

/// Everything but `Act`.
pub fn search_schedule<G: Game, R: SelectionRule>() -> Schedule {
    let mut schedule = Schedule::new(Tick);
    // The sets are a chain, and one calling thread keeps one device stream.
    schedule.set_executor(bevy_ecs::schedule::SingleThreadedExecutor::new());
    use TickSystems::*;
    schedule.configure_sets((Root, Select, Collect, Evaluate, Expand, Act).chain());
    for set in [Root, Select, Collect, Evaluate, Expand, Act] {
        schedule.configure_sets(set.run_if(healthy));
    }
    schedule.add_systems((
        root::<G>.in_set(Root),
        select::<G, R>.in_set(Select),
        collect::<G>.in_set(Collect),
        evaluate.in_set(Evaluate),
        expand::<G>.in_set(Expand),
    ));
    schedule
}

/// Runs [`Tick`] once, for the lanes whose turn it is.
///
/// # Errors
/// The first error of a system. The world then stays as it is, and every further tick returns the same error.
pub fn run_tick(world: &mut World) -> Result<(), Error> {
    tick(world, false)
}

/// Waits for batches that are in flight, and expands their leaves, without selecting new ones. Needed before the network
/// changes; without a batch in flight it does nothing.
///
/// # Errors
/// As [`run_tick`].
pub fn drain(world: &mut World) -> Result<(), Error> {
    tick(world, true)
}

fn tick(world: &mut World, draining: bool) -> Result<(), Error> {
    if !world.resource_mut::<Cohorts>().begin(draining) {
        return Ok(());
    }
    world.run_schedule(Tick);
    world.resource_mut::<Cohorts>().end();
    world.resource_mut::<Stats>().ticks += 1;
    match &world.resource::<Failure>().0 {
        None => Ok(()),
        Some(error) => Err(error.clone()),
    }
}
