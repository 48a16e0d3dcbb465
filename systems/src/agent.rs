//! Players: entities with an evaluator, a policy, settings and a cache.

use crate::{Batch, Error, Evaluations, Evaluator, SearchPolicy, rows::rows_per_task};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Evaluation, Game, config::SearchConfig, tree::bfloat16};
use rayon::prelude::*;
use std::{any::Any, collections::VecDeque};

/// A player. Its other components are its [`SearchConfig`], its [`SearchPolicy`], its [`Cache`] and its [`Inference`]: change
/// them between two ticks, and the searches go on with what they are then.
///
/// Tree `i` of a lane searches for the agent whose number is the lane's [`lockstep_components::Slot`] and `i`.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent(pub(crate) u8);

/// Agents in the order of their numbers, each with what a query gives of it.
pub(crate) fn in_order<'a, T>(agents: impl Iterator<Item = (&'a Agent, T)>) -> Vec<T> {
    let mut all: Vec<_> = agents.collect();
    all.sort_by_key(|(agent, _)| agent.0);
    all.into_iter().map(|(_, agent)| agent).collect()
}

impl Agent {
    /// Its number, counted from 0.
    pub fn number(self) -> usize {
        self.0.into()
    }
}

/// An agent to be set up: see [`crate::Setup`].
pub struct Player<G: Game> {
    pub(crate) evaluator: Box<dyn Evaluator>,
    pub(crate) settings: SearchConfig,
    pub(crate) policy: SearchPolicy<G>,
}

impl<G: Game> Player<G> {
    /// A player that searches as the settings say, with the policy that they name.
    pub fn new(evaluator: impl Evaluator + 'static, settings: SearchConfig) -> Self {
        Self { evaluator: Box::new(evaluator), policy: SearchPolicy::of(&settings), settings }
    }

    /// The same with another policy.
    #[must_use]
    pub fn with_policy(self, policy: SearchPolicy<G>) -> Self {
        Self { policy, ..self }
    }

    /// Its components.
    pub(crate) fn bundle(self, number: usize, capacity: usize) -> impl Bundle {
        let cache = Cache::<G>::new(self.settings.cache_mb as usize * 1_000_000);
        (Agent(number as u8), self.settings, self.policy, cache, Inference::new::<G>(self.evaluator, capacity))
    }
}

/// What an agent asks its evaluator, and what it was answered.
#[derive(Component)]
pub struct Inference {
    /// Gives policies and values.
    pub evaluator: Box<dyn Evaluator>,
    /// Its positions of this tick.
    pub batch: Batch,
    /// What was received last.
    evaluations: Evaluations,
    /// `[capacity, actions]`, bfloat16: the softmax of the logits that were received last over the legal moves.
    priors: Vec<u16>,
    /// Batches that were submitted and not received yet.
    in_flight: VecDeque<InFlight>,
    /// Lists of positions for the batches to come.
    spare: Vec<Box<dyn Any + Send + Sync>>,
}

struct InFlight {
    /// The first lane of its cohort.
    first_lane: usize,
    rows: usize,
    /// `Vec<G>`
    positions: Box<dyn Any + Send + Sync>,
}

impl Inference {
    /// For batches of at most so many rows.
    pub fn new<G: Game>(evaluator: Box<dyn Evaluator>, capacity: usize) -> Self {
        Self {
            evaluator,
            batch: Batch::new::<G>(capacity),
            evaluations: Evaluations::new(capacity, G::ACTIONS),
            priors: vec![0; capacity * G::ACTIONS],
            in_flight: VecDeque::new(),
            spare: vec![],
        }
    }

    /// What was received for a row.
    #[inline]
    pub fn evaluation<G: Game>(&self, row: u32) -> Evaluation<'_> {
        let row = row as usize;
        let priors = &self.priors[row * G::ACTIONS..(row + 1) * G::ACTIONS];
        Evaluation { value: self.evaluations.values[row], priors }
    }

    /// Submits the batch, for the cohort that begins with this lane.
    pub(crate) fn submit<G: Game>(&mut self, first_lane: usize) -> Result<(), Error> {
        self.evaluator.submit(&self.batch)?;
        let next = self.spare.pop().unwrap_or_else(|| Box::new(Vec::<G>::with_capacity(self.batch.rows)));
        let positions = std::mem::replace(&mut self.batch.positions, next);
        self.in_flight.push_back(InFlight { first_lane, rows: self.batch.rows, positions });
        Ok(())
    }

    /// Receives the batch of the cohort that begins with this lane, if it is in flight, and puts it into the cache. Returns
    /// the rows, and how many the device has computed.
    pub(crate) fn receive<G: Game>(
        &mut self,
        first_lane: usize,
        cache: &mut Cache<G>,
    ) -> Result<Option<(usize, usize)>, Error> {
        let due = |in_flight: &mut InFlight| in_flight.first_lane == first_lane;
        let Some(InFlight { rows, positions: list, .. }) = self.in_flight.pop_front_if(due) else { return Ok(None) };
        self.evaluator.receive(&mut self.evaluations)?;
        let positions = list.downcast_ref::<Vec<G>>().expect("the batch holds positions of this game");
        let Evaluations { logits, values, computed } = &mut self.evaluations;
        let bad: usize = logits
            .par_chunks_exact_mut(G::ACTIONS)
            .zip(self.priors.par_chunks_exact_mut(G::ACTIONS))
            .zip(positions)
            .with_min_len(rows_per_task(rows, 64))
            .map(|((logits, priors), position)| softmax(position, logits, priors))
            .sum();
        let bad = bad + values[..rows].iter().filter(|value| !value.is_finite()).count();
        if bad > 0 {
            return Err(Error::EvaluationNotFinite { count: bad, rows });
        }
        let computed = *computed;
        if cache.is_on() {
            for (row, position) in positions.iter().enumerate() {
                cache.insert(position, self.evaluation::<G>(row as u32));
            }
        }
        self.spare.push(list);
        Ok(Some((rows, computed)))
    }
}

/// The priors of a position: the softmax over its legal moves. The logits are used up. Returns how many were not finite.
///
/// Priors must not depend on which of its symmetric forms a position has, so the sum is one of whole numbers: it is the same
/// in any order.
pub fn softmax<G: Game>(position: &G, logits: &mut [f32], priors: &mut [u16]) -> usize {
    let (mut highest, mut bad) = (f32::NEG_INFINITY, 0);
    for action in position.legal() {
        let logit = logits[action as usize];
        highest = if logit > highest { logit } else { highest };
        bad += usize::from(!logit.is_finite());
    }
    // Adding 2 rounds a number from 0 to 1 to a multiple of 2^-22, and writes how often it has that into the lowest bits.
    const UNIT: f32 = 1.0 / 4_194_304.0;
    let mut sum = 0;
    for action in position.legal() {
        let logit = &mut logits[action as usize];
        *logit = exp(*logit - highest);
        sum += u64::from((*logit + 2.0).to_bits() - 2f32.to_bits());
    }
    let scale = 1.0 / (sum as f32 * UNIT);
    for action in position.legal() {
        priors[action as usize] = bfloat16(logits[action as usize] * scale);
    }
    bad
}

/// `e^x` for `x <= 0`, within 3 parts in 10^7, without calls or branches.
///
/// `2^n * 2^f` with `n` whole and `f` in -0.5 to 0.5; `2^f` is its Taylor polynomial in `f ln 2`, which is good to
/// 2e-8 at degree 6, and `n` goes straight into the exponent.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    let scaled = x.max(-87.0) * std::f32::consts::LOG2_E;
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = scaled + ROUND;
    let n = shifted - ROUND;
    // In two steps, so that the product with ln 2 loses nothing.
    let t = (x.max(-87.0) - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let t2 = t * t;
    // The terms in pairs (Estrin's scheme): a shorter chain than Horner's.
    let p = (1.0 + t) + t2 * ((0.5 + t * (1.0 / 6.0)) + t2 * ((1.0 / 24.0 + t * (1.0 / 120.0)) + t2 * (1.0 / 720.0)));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()));
    if x > -87.0 { p * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::games::ConnectFour;

    #[test]
    fn the_exponential_is_one() {
        for i in 0..=200_000 {
            let x = i as f32 * -0.0005;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs();
            assert!(error <= exact * 3e-7 + 1e-37, "exp({x}) is off by {error:e}");
        }
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY)), (1.0, 0.0));
    }

    /// The priors of a position in which columns 1, 5 and 6 are full.
    fn priors(logits: [f32; 7]) -> ([f32; 7], usize) {
        let position: ConnectFour = "222222666666777777".parse().unwrap();
        let (mut logits, mut priors) = (logits, [0; 7]);
        let bad = softmax(&position, &mut logits, &mut priors);
        let evaluation = Evaluation { value: 0.0, priors: &priors };
        (std::array::from_fn(|action| evaluation.prior(action as u16)), bad)
    }

    #[test]
    fn priors_are_the_softmax_of_legal_logits() {
        const ILLEGAL: f32 = f32::NAN;
        let (found, bad) = priors([1.0, ILLEGAL, 2.0, 3.0, 0.0, ILLEGAL, 100.0]);
        for (action, expected) in [(0, 0.087_144), (2, 0.236_883), (3, 0.643_914), (4, 0.032_059)] {
            assert!((found[action] - expected).abs() < 2e-3, "{found:?}");
        }
        assert_eq!((found[1], found[6], bad), (0.0, 0.0, 0));
        assert_eq!(priors([-3e38, 0.0, -3e38, 3e38, 0.0, 0.0, 0.0]).0[3], 1.0, "extreme logits do not overflow");
        assert_eq!(priors([f32::NAN, 0.0, f32::INFINITY, 1.0, 1.0, 0.0, 0.0]).1, 2);
    }

    #[test]
    fn priors_do_not_depend_on_the_order_of_the_moves() {
        let mut rng = lockstep_components::LaneRng::new(1, 1);
        let start = ConnectFour::start();
        for _ in 0..200_000 {
            let mut logits: [f32; 7] = std::array::from_fn(|_| 4.0 * rng.unit());
            let mut mirrored = logits;
            mirrored.reverse();
            let (mut given, mut reversed) = ([0; 7], [0; 7]);
            softmax(&start, &mut logits, &mut given);
            softmax(&start, &mut mirrored, &mut reversed);
            reversed.reverse();
            assert_eq!(given, reversed);
        }
    }
}
