//! Which lanes a tick advances.

use bevy_ecs::prelude::*;
use lockstep_components::config::LanesConfig;
use std::ops::Range;

/// Bytes of trees that a cohort may have when its size is chosen for it.
///
/// Thousands of trees don't fit into a processor's cache, and a descent is a chain of look-ups. With 4,096 lanes and 200
/// simulations, cohorts of 256 to 1,024 lanes (7 to 27 MB) are all nearly twice as fast as one of all lanes; smaller ones
/// pay more for the parallel regions of each tick.
const CACHED_BYTES: usize = 12 << 20;

/// The fewest lanes of a cohort that is chosen: smaller batches cost the network more than the cache brings the trees.
const FEWEST: usize = 256;

/// The lanes as groups of neighbours that advance together, and whose turn it is.
///
/// With one batch in flight, a cohort advances for as many ticks as a search has simulations, then the next one has its
/// turn: its trees stay in the cache meanwhile. With two, the turn changes with every tick, and each tick submits the leaves
/// of one cohort and advances the other, whose batch was on the device meanwhile.
///
/// Every system of [`crate::Tick`] works on [`Cohorts::collected`] or on [`Cohorts::answered`].
#[derive(Resource, Clone, Debug, PartialEq, Eq)]
pub struct Cohorts {
    lanes: usize,
    size: usize,
    stay: u32,
    turn: usize,
    /// Ticks of this turn that are over.
    ticks: u32,
    /// With two batches in flight: the cohort whose batch is out between two ticks.
    waiting: Option<usize>,
    two_in_flight: bool,
    collected: Option<usize>,
    answered: Option<usize>,
    /// Whether batches in flight are only to be received: see [`crate::drain`].
    pub(crate) draining: bool,
}

impl Cohorts {
    /// Cohorts as a configuration wants them, for trees of so many bytes and searches of so many simulations.
    pub fn new(config: &LanesConfig, bytes_per_lane: usize, simulations: u32) -> Self {
        let lanes = config.count as usize;
        let two_in_flight = config.in_flight == 2;
        let wanted = match (config.cohort, two_in_flight) {
            (0, true) => lanes.div_ceil(2),
            (0, false) => FEWEST.max(CACHED_BYTES / bytes_per_lane.max(1)),
            (size, _) => size as usize,
        };
        // All of nearly the same size.
        let count = lanes.div_ceil(wanted).max(1 + usize::from(two_in_flight && lanes > 1));
        let stay = if two_in_flight { 1 } else { simulations };
        Self {
            lanes,
            size: lanes.div_ceil(count),
            stay,
            turn: 0,
            ticks: 0,
            waiting: None,
            two_in_flight,
            collected: None,
            answered: None,
            draining: false,
        }
    }

    /// Lanes of the largest cohort.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The lanes whose leaves become the batch of this tick.
    pub fn collected(&self) -> Range<usize> {
        self.range(self.collected)
    }

    /// The lanes whose batch is answered in this tick: they expand, act, and select their next leaves.
    pub fn answered(&self) -> Range<usize> {
        self.range(self.answered)
    }

    fn range(&self, cohort: Option<usize>) -> Range<usize> {
        cohort.map_or(0..0, |i| i * self.size..((i + 1) * self.size).min(self.lanes))
    }

    /// Whether a batch is in flight between two ticks.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Begins a tick. One that drains collects nothing.
    pub(crate) fn begin(&mut self) {
        self.collected = (!self.draining).then_some(self.turn);
        self.answered = if self.two_in_flight { self.waiting.take() } else { self.collected };
    }

    /// Ends a tick.
    pub(crate) fn end(&mut self) {
        self.answered = None;
        let Some(collected) = self.collected.take() else { return };
        if self.two_in_flight {
            self.waiting = Some(collected);
        }
        self.ticks += 1;
        if self.ticks >= self.stay {
            self.ticks = 0;
            self.turn = (self.turn + 1) % self.lanes.div_ceil(self.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(config: LanesConfig, ticks: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let mut cohorts = Cohorts::new(&config, 20_000, 2);
        let tick = |_| {
            cohorts.begin();
            let both = (cohorts.collected(), cohorts.answered());
            cohorts.end();
            both
        };
        (0..ticks).map(tick).collect()
    }

    #[test]
    fn turns_pass_when_they_should() {
        let config = LanesConfig { count: 10, cohort: 4, ..Default::default() };
        let expected = [0..4, 0..4, 4..8, 4..8, 8..10, 8..10, 0..4].map(|r| (r.clone(), r));
        assert_eq!(turns(config.clone(), 7), expected);
        let two = LanesConfig { count: 7, cohort: 0, in_flight: 2, ..config };
        assert_eq!(turns(two.clone(), 4), [(0..4, 0..0), (4..7, 0..4), (0..4, 4..7), (4..7, 0..4)]);
        assert_eq!(turns(LanesConfig { count: 1, ..two }, 2), [(0..1, 0..0), (0..1, 0..1)]);
        assert_eq!(turns(LanesConfig { count: 3000, ..Default::default() }, 1)[0].0, 0..600);
    }
}
