//! Cohorts of lanes, which decide the lanes that a tick advances.

use bevy_ecs::prelude::*;
use lockstep_components::config::LanesConfig;
use std::{collections::VecDeque, ops::Range};

/// Bytes of trees that a cohort may have when its size is chosen automatically.
///
/// Thousands of trees don't fit into a processor's cache, and a descent is a chain of look-ups. With 4,096 lanes and 200
/// simulations, cohorts of 256 to 1,024 lanes (7 to 27 MB) are all nearly twice as fast as one of all lanes; smaller ones
/// pay more for the parallel regions of each tick.
const CACHED_BYTES: usize = 12 << 20;

/// The fewest lanes of a cohort whose size is chosen automatically: smaller batches would cost the network more than
/// the trees gain from the cache.
const FEWEST: usize = 256;

/// The lanes in groups of neighbours that advance together, the cohorts, and which of them has its turn.
///
/// With one batch in flight, a cohort advances for as many ticks as a search has simulations, then the next one has its
/// turn: its trees stay in the cache meanwhile. With more, the turn changes with every tick, and each tick submits the leaves
/// of one cohort and advances the one whose batch has been on its way for longest.
///
/// Every system of [`crate::Tick`] works on [`Cohorts::collected`] or on [`Cohorts::answered`].
#[derive(Resource, Clone, Debug, PartialEq, Eq)]
pub struct Cohorts {
    lanes: usize,
    size: usize,
    stay: u32,
    turn: usize,
    /// Ticks of the present turn that are over.
    ticks: u32,
    /// With several batches in flight: the cohorts whose batches are out between two ticks, oldest first.
    waiting: VecDeque<usize>,
    in_flight: usize,
    collected: Option<usize>,
    answered: Option<usize>,
    /// Whether batches in flight are only to be received: see [`crate::drain`].
    pub(crate) draining: bool,
    /// Whether no new leaves are to be selected: see [`crate::settle`].
    pub(crate) holding: bool,
}

impl Cohorts {
    /// The cohorts of a configuration, whose trees have `bytes_per_lane` bytes for each lane and whose searches have
    /// `simulations` simulations.
    pub fn new(config: &LanesConfig, bytes_per_lane: usize, simulations: u32) -> Self {
        let lanes = config.count as usize;
        let in_flight = (config.in_flight as usize).clamp(1, lanes.max(1));
        let wanted = match (config.cohort, in_flight) {
            (0, 1) => FEWEST.max(CACHED_BYTES / bytes_per_lane.max(1)),
            (0, _) => lanes.div_ceil(in_flight),
            (size, _) => size as usize,
        };
        // All of nearly the same size, and each with at least a lane.
        let size = lanes.div_ceil(lanes.div_ceil(wanted).max(in_flight));
        let in_flight = in_flight.min(lanes.div_ceil(size));
        let stay = if config.in_flight > 1 { 1 } else { simulations };
        Self {
            lanes,
            size,
            stay,
            turn: 0,
            ticks: 0,
            waiting: VecDeque::with_capacity(in_flight),
            in_flight,
            collected: None,
            answered: None,
            draining: false,
            holding: false,
        }
    }

    /// Number of lanes of the largest cohort.
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

    /// Whether new searches begin and leaves are selected.
    pub(crate) fn is_selecting(&self) -> bool {
        !(self.draining || self.holding)
    }

    /// Number of cohorts.
    pub(crate) fn count(&self) -> usize {
        self.lanes.div_ceil(self.size)
    }

    /// Whether a batch is in flight between two ticks.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Begins a tick. One that drains collects nothing.
    pub(crate) fn begin(&mut self) {
        self.collected = (!self.draining).then_some(self.turn);
        self.waiting.extend(self.collected);
        let due = self.draining || self.waiting.len() == self.in_flight;
        self.answered = if due { self.waiting.pop_front() } else { None };
    }

    /// Ends a tick.
    pub(crate) fn end(&mut self) {
        self.answered = None;
        if self.collected.take().is_none() {
            return;
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
        let three = LanesConfig { in_flight: 3, ..two.clone() };
        assert_eq!(turns(three, 5), [(0..3, 0..0), (3..6, 0..0), (6..7, 0..3), (0..3, 3..6), (3..6, 6..7)]);
        // A lane cannot have its leaves on their way twice.
        assert_eq!(turns(LanesConfig { count: 1, ..two.clone() }, 2), [(0..1, 0..1), (0..1, 0..1)]);
        assert_eq!(turns(LanesConfig { count: 4, in_flight: 3, ..two }, 3), [(0..2, 0..0), (2..4, 0..2), (0..2, 2..4)]);
        assert_eq!(turns(LanesConfig { count: 3000, ..Default::default() }, 1)[0].0, 0..600);
    }
}
