//! Where the time of a tick goes.
//!
//! The systems read no clock; these do, between the sets of a schedule.

use bevy_ecs::prelude::*;
use lockstep_systems::TickSystems;
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
    /// Seconds of each stage, and begins anew.
    pub fn take(&mut self) -> [f64; STAGES.len()] {
        std::mem::take(&mut self.spent).map(|time| time.as_secs_f64())
    }

    /// Seconds of each stage.
    pub fn seconds(&self) -> [f64; STAGES.len()] {
        self.spent.map(|time| time.as_secs_f64())
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
