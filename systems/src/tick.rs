//! The schedule that advances every lane by at least one simulation.

use crate::{
    Cohorts, Error, Failure,
    analyse::{answer, obey},
    collect::collect,
    error::gate,
    evaluate::evaluate,
    pass::{Parts, pass},
};
use bevy_ecs::{
    prelude::*,
    schedule::{ScheduleLabel, SystemKey},
};
use lockstep_components::{Game, GameFinished, GameRecord, Rounds, Stats};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The label of the schedule that advances lanes. [`run_tick`] runs it and returns the first error; after
/// `world.run_schedule(Tick)` the error is in [`Failure`].
#[derive(ScheduleLabel, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tick;

/// The sets of [`Tick`] in run order. Systems of your own can run before, after or in one of them.
///
/// With one batch in flight all sets work on the same lanes. With more, `Collect` works on the lanes whose leaves are
/// submitted, and the sets from `Expand` on work on the lanes whose batch is received.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TickSystems {
    /// The lanes of this tick are chosen.
    Begin,
    /// Selected leaves become batches.
    Collect,
    /// Batches are evaluated.
    Evaluate,
    /// Evaluations become nodes and are backed up.
    Expand,
    /// Complete searches play their move.
    Act,
    /// Searches that begin get their budget and noise.
    Root,
    /// Trees are descended to leaves.
    Select,
    /// The turn ends.
    End,
}

/// The set of all systems that change trees, from [`TickSystems::Expand`] to [`TickSystems::Select`].
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Advance;

/// What a schedule does with complete searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acts {
    /// Plays their moves.
    Play,
    /// Answers [`crate::Questions`], and obeys [`crate::Orders`].
    Answer,
    /// Leaves complete searches as they are.
    Not,
}

/// The systems that [`advance`] takes the place of.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Own {
    First,
    Middle,
    Last,
}

/// Whether `Expand`, `Act`, `Root` and `Select` are one pass over the lanes.
#[derive(Resource, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Whether the four systems run as one pass, which they do if no other system stands between them. [`run_tick`]
    /// updates this when the schedule has changed.
    pub fused: bool,
    /// Number of systems of the schedule when `fused` was last updated.
    systems: usize,
}

/// Makes the schedule [`Tick`] of a game.
pub(crate) fn tick_schedule<G: Game>(acts: Acts) -> Schedule {
    let mut schedule = Schedule::new(Tick);
    // The sets are a chain, and one calling thread keeps one device stream.
    schedule.set_executor(bevy_ecs::schedule::SingleThreadedExecutor::new());
    use TickSystems::*;
    schedule.configure_sets((Begin, Collect, Evaluate, Expand, Act, Root, Select, End).chain());
    schedule.configure_sets((Evaluate, Advance, End).chain());
    schedule.configure_sets((Expand, Act, Root, Select).in_set(Advance));
    schedule.add_systems((
        begin.in_set(Begin),
        collect::<G>.in_set(Collect),
        evaluate::<G>.in_set(Evaluate),
        pass::<G>(Parts::EXPAND).in_set(Expand).in_set(Own::First).run_if(apart),
        pass::<G>(Parts::ROOT).in_set(Root).in_set(Own::Middle).run_if(apart).run_if(selecting),
        pass::<G>(Parts::SELECT).in_set(Select).in_set(Own::Last).run_if(apart).run_if(selecting),
        end.in_set(End),
    ));
    match acts {
        Acts::Play => schedule.add_systems((
            pass::<G>(Parts::ACT).in_set(Act).in_set(Own::Middle).run_if(apart),
            pass::<G>(Parts::ALL).in_set(Advance).before(Expand).run_if(not(apart)),
        )),
        Acts::Answer => schedule.add_systems((answer, obey::<G>).chain().in_set(Act)),
        Acts::Not => &mut schedule,
    };
    schedule
}

fn apart(passes: Res<Passes>) -> bool {
    !passes.fused
}

fn selecting(cohorts: Res<Cohorts>) -> bool {
    cohorts.is_selecting()
}

fn begin(mut cohorts: ResMut<Cohorts>, mut finished: ResMut<Messages<GameFinished>>) {
    // No system reads messages between the ticks that drain, so they are kept.
    if !cohorts.draining {
        finished.update();
    }
    cohorts.begin();
}

fn end(mut cohorts: ResMut<Cohorts>, mut stats: ResMut<Stats>) {
    cohorts.end();
    stats.ticks += 1;
}

/// Runs [`Tick`] once, for the lanes whose turn it is.
///
/// # Errors
/// The first error of a system, or of [`crate::Rows`]. No further system runs after it, so the world stays as it is,
/// and every further tick returns the same error.
///
/// # Panics
/// If the schedule has systems whose order contradicts itself, or of which one panics.
pub fn run_tick(world: &mut World) -> Result<(), Error> {
    world.schedule_scope(Tick, |world, schedule| {
        gate(schedule);
        let built = schedule.initialize(world).unwrap_or_else(|e| panic!("the schedule Tick cannot be built: {e}"));
        if built.is_some() || world.resource::<Passes>().systems != schedule.systems_len() {
            let passes = Passes { fused: is_fused(schedule), systems: schedule.systems_len() };
            world.insert_resource(passes);
        }
        all_awake(|| schedule.run(world));
    });
    world.resource::<Failure>().result()
}

/// Plays the next `games` games and returns them in the order of their numbers, beginning with game 0 at the
/// first call. Returns fewer if [`Rounds`] has no more.
///
/// Games that end out of turn wait for the next call: the first ones to end would be short games, and in a match halves
/// of pairs.
///
/// # Errors
/// Those of [`run_tick`]. The games that have ended before the error are kept for the next call, which returns them
/// without a tick if they are enough.
pub fn play_games(world: &mut World, games: usize) -> Result<Vec<GameRecord>, Error> {
    let all_free = |world: &mut World| {
        world.resource::<Rounds>().is_empty() && world.query::<&GameRecord>().iter(world).all(|game| game.id.is_none())
    };
    let first = world.get_resource_or_init::<OutOfTurn>().next;
    let mut next = first;
    loop {
        let waiting = world.resource::<OutOfTurn>();
        while next - first < games as u64 && waiting.ended.contains_key(&next) {
            next += 1;
        }
        if next - first == games as u64 || all_free(world) {
            break;
        }
        let ticked = run_tick(world);
        let ended = world.resource_mut::<Messages<GameFinished>>().drain().collect::<Vec<_>>();
        let ended = ended.into_iter().filter_map(|GameFinished(game)| Some((game.id?.number, game)));
        world.resource_mut::<OutOfTurn>().ended.extend(ended);
        ticked?;
    }
    let mut waiting = world.resource_mut::<OutOfTurn>();
    waiting.next = next;
    let later = waiting.ended.split_off(&next);
    Ok(std::mem::replace(&mut waiting.ended, later).into_values().collect())
}

/// Games that have ended and were not returned by [`play_games`] yet.
#[derive(Resource, Default)]
struct OutOfTurn {
    /// The number of the first game that was not returned yet.
    next: u64,
    ended: BTreeMap<u64, GameRecord>,
}

/// Whether a schedule plays games and has no systems of others between `expand` and `select`.
fn is_fused(schedule: &Schedule) -> bool {
    let of = |set: Own| -> Vec<SystemKey> {
        let keys = schedule.graph().systems_in_set(set.intern());
        keys.map(|keys| keys.iter().copied().collect()).unwrap_or_default()
    };
    let (first, middle, last) = (of(Own::First), of(Own::Middle), of(Own::Last));
    let Ok(systems) = schedule.systems() else { return false };
    let order = systems.map(|(key, _)| key).skip_while(|key| !first.contains(key)).skip(1);
    let between: Vec<_> = order.take_while(|key| !last.contains(key)).collect();
    // Root and act: without the latter nothing is played.
    between.len() == 2 && between.iter().all(|key| middle.contains(key))
}

/// Waits for the batches in flight and expands their leaves, without selecting new ones. It must be called before an
/// evaluator is replaced; without a batch in flight it does nothing.
///
/// # Errors
/// Those of [`run_tick`].
pub fn drain(world: &mut World) -> Result<(), Error> {
    world.resource_mut::<Cohorts>().draining = true;
    let mut drained = Ok(());
    while drained.is_ok() && world.resource::<Cohorts>().is_waiting() {
        drained = run_tick(world);
    }
    world.resource_mut::<Cohorts>().draining = false;
    drained
}

/// Evaluates and expands the selected leaves without selecting new ones, so that no descent is under way afterwards.
/// With one batch in flight this holds for the lanes whose turn it is, which are all lanes if they are one cohort.
///
/// # Errors
/// Those of [`run_tick`].
pub fn settle(world: &mut World) -> Result<(), Error> {
    let cohorts = world.resource::<Cohorts>().count();
    world.resource_mut::<Cohorts>().holding = true;
    let mut settled = (0..cohorts).try_for_each(|_| run_tick(world));
    settled = settled.and_then(|()| drain(world));
    world.resource_mut::<Cohorts>().holding = false;
    settled
}

/// Runs `work`, which has many short parallel regions, while the other threads of the pool look for its tasks without
/// pause.
///
/// Rayon lets a thread that finds nothing yield to the system and soon sleep; waking it takes longer than many a region
/// lasts. Each other thread gets a job that does nothing but run other jobs. It goes on after `work`, so that it is there for
/// the next tick. Left without any for long, as while a device is at work, it ends and the thread may sleep.
pub fn all_awake(work: impl FnOnce()) {
    thread_local! {
        /// How many of these jobs there are in the pool of this thread.
        static AWAKE: Arc<AtomicUsize> = Arc::default();
    }
    if rayon::current_thread_index().is_some() {
        AWAKE.with(|awake| {
            for _ in awake.load(Ordering::Relaxed)..rayon::current_num_threads() - 1 {
                awake.fetch_add(1, Ordering::Relaxed);
                let awake = awake.clone();
                rayon::spawn(move || {
                    let mut idle = 0;
                    while idle < IDLE_ROUNDS {
                        idle = if rayon::yield_now() == Some(rayon::Yield::Executed) { 0 } else { idle + 1 };
                        std::hint::spin_loop();
                    }
                    awake.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }
    work();
}

/// Attempts to find work before a thread may sleep: about a tenth of a millisecond.
const IDLE_ROUNDS: u32 = 2_000;
