//! Where the time of a tick goes.
//!
//! The systems of the search read no clock; those of this module do, between the sets of a schedule.

use bevy_ecs::prelude::*;
use lockstep_systems::{Advance, Plugin, Tick, TickSystems};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A plugin that measures the stages of a tick.
#[derive(Clone, Debug)]
pub struct Timing(Vec<(TickSystems, &'static str)>);

impl Timing {
    /// Measures three stages: making batches, evaluating them, and what the trees do before and after. It costs
    /// nothing.
    pub fn coarse() -> Self {
        use TickSystems::*;
        Self(vec![(Collect, "collect"), (Evaluate, "evaluate"), (Select, "search")])
    }

    /// Measures each set of the schedule for itself. The search is then made in four passes over the lanes instead of
    /// one, which takes longer.
    pub fn fine() -> Self {
        use TickSystems::*;
        let sets = [Collect, Evaluate, Expand, Act, Root, Select];
        Self(sets.into_iter().zip(["collect", "evaluate", "expand", "act", "root", "select"]).collect())
    }
}

impl Plugin for Timing {
    fn build(self, world: &mut World) {
        let spent = self.0.iter().map(|(_, name)| (*name, Duration::ZERO)).collect();
        world.insert_resource(StageTimes { last: Instant::now(), spent });
        let mut schedules = world.resource_mut::<Schedules>();
        let begin = |mut times: ResMut<StageTimes>| times.last = Instant::now();
        schedules.add_systems(Tick, begin.after(TickSystems::Begin).before(TickSystems::Collect));
        for (stage, (set, _)) in self.0.iter().enumerate() {
            let lap = move |mut times: ResMut<StageTimes>| {
                let now = Instant::now();
                let spent = now - times.last;
                times.spent[stage].1 += spent;
                times.last = now;
            };
            match (set, self.0.get(stage + 1)) {
                (TickSystems::Evaluate, _) => schedules.add_systems(Tick, lap.after(*set).before(Advance)),
                (_, Some((next, _))) => schedules.add_systems(Tick, lap.after(*set).before(*next)),
                (_, None) => schedules.add_systems(Tick, lap.after(*set).before(TickSystems::End)),
            };
        }
    }
}

/// The time spent in each stage of the ticks since it was last reset.
#[derive(Resource, Clone, Debug)]
pub struct StageTimes {
    last: Instant,
    spent: Vec<(&'static str, Duration)>,
}

impl StageTimes {
    /// Returns the name and the seconds of each stage, in the order in which they run.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.spent.iter().map(|(name, spent)| (*name, spent.as_secs_f64()))
    }

    /// Sets the time of every stage to zero.
    pub fn reset(&mut self) {
        self.spent.iter_mut().for_each(|(_, spent)| *spent = Duration::ZERO);
    }
}

/// Seconds of each stage of a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageSeconds {
    /// Seconds in which leaves become batches.
    pub collect: f64,
    /// Seconds in which the network answers, or is waited for.
    pub evaluate: f64,
    /// Seconds in which answers become nodes, moves are played, searches begin, and trees are descended.
    pub search: f64,
}

impl StageSeconds {
    /// Returns the seconds of the stages that [`Timing::coarse`] measures.
    pub fn of(times: &StageTimes) -> Self {
        let seconds = |name| times.named().find(|(stage, _)| *stage == name).map_or(0.0, |(_, seconds)| seconds);
        Self { collect: seconds("collect"), evaluate: seconds("evaluate"), search: seconds("search") }
    }

    /// Returns the seconds of the stages, and sets those of `times` to zero.
    pub fn take(times: &mut StageTimes) -> Self {
        let taken = Self::of(times);
        times.reset();
        taken
    }

    /// Returns the seconds of all stages together.
    pub fn total(self) -> f64 {
        self.collect + self.evaluate + self.search
    }
}
