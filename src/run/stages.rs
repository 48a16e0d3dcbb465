//! Where the time of a tick goes.
//!
//! The systems read no clock; these do, between the sets of a schedule.

use bevy_ecs::prelude::*;
use lockstep_systems::TickSystems;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The sets of a tick with their names, in run order.
pub const STAGES: [(TickSystems, &str); 6] = [
    (TickSystems::Root, "root"),
    (TickSystems::Select, "select"),
    (TickSystems::Collect, "collect"),
    (TickSystems::Evaluate, "evaluate"),
    (TickSystems::Expand, "expand"),
    (TickSystems::Act, "act"),
];

/// Time spent in each of [`STAGES`] since it was last taken.
#[derive(Resource, Clone, Debug)]
pub struct StageTimes {
    last: Instant,
    spent: [Duration; STAGES.len()],
}

impl Default for StageTimes {
    fn default() -> Self {
        Self { last: Instant::now(), spent: Default::default() }
    }
}

impl StageTimes {
    /// The seconds, and begins anew.
    pub fn take(&mut self) -> StageSeconds {
        let seconds = self.seconds();
        self.spent = Default::default();
        seconds
    }

    /// The seconds.
    pub fn seconds(&self) -> StageSeconds {
        let [root, select, collect, evaluate, expand, act] = self.spent.map(|time| time.as_secs_f64());
        StageSeconds { root, select, collect, evaluate, expand, act }
    }
}

/// Seconds of each set of a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageSeconds {
    /// Searches begin.
    pub root: f64,
    /// Trees are descended.
    pub select: f64,
    /// Leaves become batches.
    pub collect: f64,
    /// The network answers, or is waited for.
    pub evaluate: f64,
    /// Answers become nodes.
    pub expand: f64,
    /// Moves are played.
    pub act: f64,
}

impl StageSeconds {
    /// Each with its name, in run order.
    pub fn named(&self) -> [(&'static str, f64); STAGES.len()] {
        let Self { root, select, collect, evaluate, expand, act } = *self;
        let seconds = [root, select, collect, evaluate, expand, act];
        std::array::from_fn(|i| (STAGES[i].1, seconds[i]))
    }

    /// Their shares for people: `root 1 %  select 5 %` and so on.
    pub fn shares(&self) -> String {
        let all: f64 = self.named().iter().map(|s| s.1).sum();
        let share = |(name, seconds): (&str, f64)| format!("{name} {:.0} %", 100.0 * seconds / all.max(1e-9));
        self.named().map(share).join("  ")
    }
}

/// Lets a schedule measure its sets. The world needs [`StageTimes`].
pub fn time_stages(schedule: &mut Schedule) {
    let begin = |mut times: ResMut<StageTimes>| times.last = Instant::now();
    schedule.add_systems(begin.before(TickSystems::Root));
    for (stage, (set, _)) in STAGES.into_iter().enumerate() {
        let lap = move |mut times: ResMut<StageTimes>| {
            let now = Instant::now();
            let spent = now - times.last;
            times.spent[stage] += spent;
            times.last = now;
        };
        match STAGES.get(stage + 1) {
            Some((next, _)) => schedule.add_systems(lap.after(set).before(*next)),
            None => schedule.add_systems(lap.after(set)),
        };
    }
}
