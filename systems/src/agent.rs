//! Agents: entities with an evaluator, a policy, settings and a cache.

use crate::{
    Batch, Error, Evaluations, Evaluator, SearchPolicy,
    expand::set_priors,
    rows::{each, rows_per_task},
};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Edge, Game, cache::CachePart, config::SearchConfig};
use rayon::prelude::*;
use std::{any::Any, collections::VecDeque};

/// One way to play. The other components of an agent are its [`SearchConfig`], [`SearchPolicy`], [`Cache`] and
/// [`Inference`]. They may be changed between two ticks, and the searches then go on with the new ones.
///
/// Tree `i` of a lane searches for the agent whose number is the lane's [`lockstep_components::Slot`] plus `i`.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent(pub(crate) u8);

/// What a query gives of each agent, in the order of the agents' numbers.
pub(crate) fn in_order<'a, T>(agents: impl Iterator<Item = (&'a Agent, T)>) -> Vec<T> {
    let mut all: Vec<Option<T>> = vec![];
    for (agent, of) in agents {
        all.resize_with(all.len().max(agent.number() + 1), || None);
        all[agent.number()] = Some(of);
    }
    all.into_iter().flatten().collect()
}

impl Agent {
    /// The number of the agent, counted from 0.
    pub fn number(self) -> usize {
        self.0.into()
    }
}

/// An agent to be set up: see [`crate::Setup`].
pub struct Searcher {
    pub(crate) evaluator: Box<dyn Evaluator>,
    pub(crate) settings: SearchConfig,
    pub(crate) policy: SearchPolicy,
}

impl Searcher {
    /// An agent that searches with these settings and the policy that they name.
    pub fn new(evaluator: impl Evaluator + 'static, settings: SearchConfig) -> Self {
        Self { evaluator: Box::new(evaluator), policy: SearchPolicy::of(&settings), settings }
    }

    /// Replaces the policy.
    #[must_use]
    pub fn with_policy(self, policy: SearchPolicy) -> Self {
        Self { policy, ..self }
    }
}

/// The evaluator of an agent, with the batch that is collected for it and the evaluations that it gave.
#[derive(Component)]
pub struct Inference {
    /// The evaluator, which gives policies and values.
    pub evaluator: Box<dyn Evaluator>,
    /// Whether the evaluations in the cache are of an earlier evaluator.
    pub(crate) replaced: bool,
    /// The agent's positions of this tick.
    pub batch: Batch,
    /// The evaluations of the batch that was received last.
    pub evaluations: Evaluations,
    /// The batches that were submitted and not received yet, oldest first.
    in_flight: VecDeque<InFlight>,
    /// Lists of keys to be reused for the batches to come.
    spare: Vec<Box<dyn Any + Send + Sync>>,
    /// The rows of a batch that go into each part of the cache.
    rows_of_parts: Vec<Vec<usize>>,
}

struct InFlight {
    /// The first lane of the batch's cohort.
    first_lane: usize,
    rows: usize,
    /// The keys of the rows: a `Vec<G::Key>`.
    keys: Box<dyn Any + Send + Sync>,
}

impl Inference {
    /// An evaluator for the game `G`, with buffers for batches of at most `capacity` rows.
    pub fn new<G: Game>(evaluator: Box<dyn Evaluator>, capacity: usize) -> Self {
        Self {
            evaluator,
            replaced: false,
            batch: Batch::new::<G>(capacity),
            evaluations: Evaluations::new(capacity, G::ACTIONS),
            in_flight: VecDeque::new(),
            spare: vec![],
            rows_of_parts: vec![],
        }
    }

    /// Replaces the evaluator. The evaluations in the agent's cache, which are of the evaluator before, are forgotten
    /// in the next tick. No batch may be in flight; see [`crate::drain`].
    pub fn replace(&mut self, evaluator: Box<dyn Evaluator>) {
        (self.evaluator, self.replaced) = (evaluator, true);
    }

    /// Submits the batch of the cohort that begins with this lane.
    pub(crate) fn submit<G: Game>(&mut self, first_lane: usize) -> Result<(), Error> {
        self.evaluator.submit(&self.batch)?;
        let next = self.spare.pop().unwrap_or_else(|| Box::new(Vec::<G::Key>::with_capacity(self.batch.rows)));
        let keys = std::mem::replace(&mut self.batch.keys, next);
        self.in_flight.push_back(InFlight { first_lane, rows: self.batch.rows, keys });
        Ok(())
    }

    /// Receives the batch of the cohort that begins with this lane, if it is in flight, and adds its evaluations to the
    /// cache. Returns the number of rows, and how many rows the device has computed.
    pub(crate) fn receive<G: Game>(
        &mut self,
        first_lane: usize,
        cache: &mut Cache<G>,
    ) -> Result<Option<(usize, usize)>, Error> {
        let due = |in_flight: &mut InFlight| in_flight.first_lane == first_lane;
        let Some(InFlight { rows, keys: list, .. }) = self.in_flight.pop_front_if(due) else { return Ok(None) };
        self.evaluator.receive(&mut self.evaluations)?;
        let Evaluations { logits, values, computed } = &self.evaluations;
        let keys = list.downcast_ref::<Vec<G::Key>>().expect("the batch holds keys of this game");
        let (logits, values) = (&logits[..rows * G::ACTIONS], &values[..rows]);
        if any_bad(values, logits, G::ACTIONS) {
            // Logits of illegal moves may be anything.
            let of_row = |(&key, logits): (&G::Key, &[f32])| {
                G::moves(key).filter(|&action| !logits[action as usize].is_finite()).count()
            };
            let count = values.iter().filter(|value| !value.is_finite()).count()
                + keys.iter().zip(logits.chunks(G::ACTIONS)).map(of_row).sum::<usize>();
            if count > 0 {
                return Err(Error::EvaluationNotFinite { count, rows });
            }
        }
        let computed = *computed;
        if cache.is_on() {
            // Each part is filled in the order of the rows, however many threads there are.
            let parts = cache.parts().len();
            self.rows_of_parts.resize_with(parts, Vec::new);
            self.rows_of_parts.iter_mut().for_each(Vec::clear);
            keys.iter().enumerate().for_each(|(row, key)| self.rows_of_parts[cache.part_of(key)].push(row));
            let few = rows_per_task(rows, 256).div_ceil(rows.div_ceil(parts).max(1)).max(1);
            let tasks = cache.parts().chunks_mut(few).zip(self.rows_of_parts.chunks(few)).collect();
            each(tasks, |(parts, rows): (&mut [CachePart<G>], &[Vec<usize>])| {
                let mut moves = Vec::<Edge>::new();
                for (part, rows) in parts.iter_mut().zip(rows) {
                    for &row in rows {
                        let logits = &logits[row * G::ACTIONS..(row + 1) * G::ACTIONS];
                        moves.clear();
                        moves.extend(G::moves(keys[row]).map(|action| Edge::new(action, 0.0)));
                        set_priors(&mut moves, |action| logits[action as usize]);
                        part.insert(&keys[row], values[row], moves.iter().map(Edge::prior));
                    }
                }
            });
        }
        self.spare.push(list);
        Ok(Some((rows, computed)))
    }
}

/// Whether a number is not finite.
fn any_bad(values: &[f32], logits: &[f32], actions: usize) -> bool {
    // Without a branch, so that the compiler makes vectors of it.
    let bad = |numbers: &[f32]| numbers.iter().fold(false, |bad, x| bad | !x.is_finite());
    bad(values) || logits.par_chunks(256 * actions).any(bad)
}
