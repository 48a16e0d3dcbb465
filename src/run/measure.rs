//! Rates of the parts of a run on this machine, for `lockstep bench`, `lockstep tune` and the rehearsal of a run.

use crate::{
    Error,
    device::{Place, check::learner_world},
    memory::{Footprint, MemoryBound},
    stages::{StageTimes, Timing},
};
use bevy_ecs::prelude::*;
use lockstep_components::{Config, GameRecord, Stats, Tree, config::Steps};
use lockstep_systems::{
    AnyGame, Batch, EVALUATING, Evaluations, Evaluator, Learner, Network, Searcher, Setup, run_learn, run_tick,
};
use std::time::Instant;

/// The rates and counts of self-play in some time.
#[derive(Clone, Debug)]
pub struct Ticks {
    /// Simulations per second: the median over ten stretches of time.
    pub simulations_per_second: f64,
    /// Evaluations per second: the median over ten stretches of time.
    pub evaluations_per_second: f64,
    /// The counts of all stretches, those of searches and games under way included.
    pub stats: Stats,
    /// The seconds of all stretches together.
    pub seconds: f64,
    /// The name and the seconds of each stage of a tick, of all stretches together.
    pub stages: Vec<(&'static str, f64)>,
}

/// Plays with an evaluator for `seconds` seconds, after a warm-up of 0.3 times as many and at most 3, in which lanes
/// get into the middle of their games.
///
/// # Errors
/// When the memory does not suffice, or the device fails.
pub fn ticks(
    game: AnyGame,
    config: &Config,
    place: &Place,
    evaluator: Box<dyn Evaluator>,
    timing: Timing,
    seconds: f64,
) -> Result<Ticks, Error> {
    MemoryBound::of_searches(game, &[&config.search], &config.lanes, &[]).check()?;
    let mut world = Setup::self_play(game, Searcher::new(evaluator, config.search.clone()))
        .lanes(place.lanes(&config.lanes))
        .start(game.start_of(config))
        .plugin(timing)
        .build();
    let run = |world: &mut World, time: f64| -> Result<f64, Error> {
        let start = Instant::now();
        // Once at least, however short the time.
        loop {
            run_tick(world)?;
            if start.elapsed().as_secs_f64() >= time {
                break;
            }
        }
        Ok(start.elapsed().as_secs_f64())
    };
    run(&mut world, (seconds * 0.3).min(3.0))?;
    *world.resource_mut::<Stats>() = Stats::default();
    world.resource_mut::<StageTimes>().reset();
    let begun = counts(&mut world);
    let (mut stretches, mut spent, mut before) = (vec![], 0.0, begun.clone());
    for _ in 0..10 {
        let time = run(&mut world, seconds / 10.0)?;
        let now = counts(&mut world);
        stretches.push([
            (now.simulations - before.simulations) as f64 / time,
            (now.evaluations - before.evaluations) as f64 / time,
        ]);
        (spent, before) = (spent + time, now);
    }
    let rate = |i: usize| median(stretches.iter().map(|s| s[i]).collect());
    Ok(Ticks {
        simulations_per_second: rate(0),
        evaluations_per_second: rate(1),
        stats: Stats {
            simulations: before.simulations - begun.simulations,
            terminals: before.terminals - begun.terminals,
            depth_sum: before.depth_sum - begun.depth_sum,
            cache_hits: before.cache_hits - begun.cache_hits,
            moves: before.moves - begun.moves,
            ..before
        },
        seconds: spent,
        stages: world.resource::<StageTimes>().named().collect(),
    })
}

/// Returns what a world has counted since that began anew, of searches and games under way as well: positions are
/// evaluated before the search that asks for them ends, and searches end before their games.
pub fn counts(world: &mut World) -> Stats {
    let mut now = world.resource::<Stats>().clone();
    // Shares of the searches that have ended.
    let (proven, full) = (now.proven, now.full);
    for tree in world.query::<&Tree>().iter(world) {
        now.add(tree.counts, 0);
        now.cache_hits += u64::from(tree.cache_hits);
    }
    (now.proven, now.full) = (proven, full);
    now.moves += world.query::<&GameRecord>().iter(world).map(|game| game.plies.len() as u64).sum::<u64>();
    now
}

/// Returns an evaluator of a new network, for batches of at most `rows` rows of the searches of this configuration.
///
/// # Errors
/// When the memory does not suffice, or the device fails.
pub fn evaluator(game: AnyGame, config: &Config, place: &Place, rows: usize) -> Result<Box<dyn Evaluator>, Error> {
    let network = Footprint::of(game, &config.network, place, rows);
    MemoryBound::of_searches(game, &[&config.search], &config.lanes, &[network]).check()?;
    let make = || {
        let network = Network::init(&game.info, &config.network, 1, &place.device);
        Ok(place.evaluators(game, rows).0(&network))
    };
    Ok(lockstep_systems::Error::guard(EVALUATING, make)?)
}

/// Measures the evaluations per second in batches of `rows` rows, for `seconds` seconds after a warm-up.
///
/// # Errors
/// When the device fails.
pub fn evaluations(game: AnyGame, evaluator: &mut dyn Evaluator, rows: usize, seconds: f64) -> Result<f64, Error> {
    let (batch, mut out) = (Batch::random(&game.info, rows), Evaluations::new(rows, game.info.actions));
    repeat(seconds, rows, || Ok(evaluator.evaluate(&batch, &mut out)?))
}

/// Takes one step of the optimiser, and waits until the device has ended it.
///
/// # Errors
/// When the device fails.
pub fn step(world: &mut World, place: &Place) -> Result<(), Error> {
    run_learn(world)?;
    step_ended(place)
}

fn step_ended(place: &Place) -> Result<(), Error> {
    let synced = place.device.sync();
    Ok(synced.map_err(|e| lockstep_systems::Error::of_device(lockstep_systems::TRAINING, format!("{e:?}")))?)
}

/// Measures the samples per second of training, for `seconds` seconds after a warm-up.
///
/// # Errors
/// When a game or the device fails.
pub fn samples(game: AnyGame, config: &Config, place: &Place, seconds: f64) -> Result<f64, Error> {
    let mut world = learner_world(game, config, place, 500)?;
    repeat(seconds, config.learn.batch_size, || step(&mut world, place))
}

/// Measures the samples per second of whole generations of `steps` steps, with all that the learner begins and ends a
/// generation with, for `seconds` seconds after a warm-up. If a generation takes longer, it is cut off after twice that
/// time.
///
/// # Errors
/// When a game or the device fails.
pub fn generations(game: AnyGame, config: &Config, place: &Place, steps: u64, seconds: f64) -> Result<f64, Error> {
    let mut world = learner_world(game, config, place, 500)?;
    world.resource_mut::<Learner>().config.steps = Steps::Batches(steps);
    // The first steps are not like the others.
    let warm = Instant::now();
    while !(run_learn(&mut world)? || warm.elapsed().as_secs_f64() > 0.2 * seconds) {}
    let (start, mut taken) = (Instant::now(), 0);
    loop {
        let ended = run_learn(&mut world)?;
        taken += config.learn.batch_size;
        let late = start.elapsed().as_secs_f64() >= seconds;
        if late && (ended || start.elapsed().as_secs_f64() >= 2.0 * seconds) {
            step_ended(place)?;
            return Ok(taken as f64 / start.elapsed().as_secs_f64());
        }
    }
}

/// Returns the rows per second of a repeated piece of work, from its median time after a warm-up.
fn repeat(seconds: f64, rows: usize, mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    work()?;
    let warm = Instant::now();
    while warm.elapsed().as_secs_f64() < (seconds * 0.2).min(2.0) {
        work()?;
    }
    let mut times = vec![];
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let began = Instant::now();
        work()?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(rows as f64 / median(times))
}

/// Returns the median: of an even count of numbers, the larger one of those in the middle.
///
/// # Panics
/// If there are no numbers.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
