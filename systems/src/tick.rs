//! The schedule that advances every lane by at least one simulation.

use crate::{
    Cohorts, Error, Failure, SelectionRule, act::act, analyse::answer, collect::collect, error::healthy,
    evaluate::evaluate, expand::expand, root::root, select::select,
};
use bevy_ecs::{prelude::*, schedule::ScheduleLabel};
use lockstep_components::{Game, Stats};
use std::sync::atomic::{AtomicBool, Ordering};

/// The label of the schedule. It is run by [`run_tick`], which says whose turn it is and returns what has failed:
/// `world.run_schedule(Tick)` would do neither, so it panics.
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
    all_awake(|| world.run_schedule(Tick));
    world.resource_mut::<Cohorts>().end();
    world.resource_mut::<Stats>().ticks += 1;
    match &world.resource::<Failure>().0 {
        None => Ok(()),
        Some(error) => Err(error.clone()),
    }
}

/// Runs `work`, which has many short parallel regions, while the other threads of the pool look for its tasks without
/// pause.
///
/// Rayon lets a thread that finds nothing yield to the system and soon sleep; waking it takes longer than many a region
/// lasts. Each other thread gets a job that does nothing but run other jobs. Left without any for long, as while a device
/// is at work, it ends and the thread may sleep.
fn all_awake(work: impl FnOnce() + Send) {
    let others = rayon::current_num_threads() - 1;
    if others == 0 || rayon::current_thread_index().is_none() {
        return work();
    }
    let done = AtomicBool::new(false);
    rayon::in_place_scope(|scope| {
        for _ in 0..others {
            scope.spawn(|_| {
                let mut idle = 0;
                while idle < IDLE_ROUNDS && !done.load(Ordering::Relaxed) {
                    idle = if rayon::yield_now() == Some(rayon::Yield::Executed) { 0 } else { idle + 1 };
                    std::hint::spin_loop();
                }
            });
        }
        work();
        done.store(true, Ordering::Relaxed);
    });
}

/// About a tenth of a millisecond.
const IDLE_ROUNDS: u32 = 2_000;
