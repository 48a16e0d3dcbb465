//! `TickSystems::Evaluate`: hands each agent's batch to its evaluator and takes the answers.

use crate::{Batch, Cohorts, Error, Evaluations, Evaluator, Failure};
use bevy_ecs::prelude::*;
use lockstep_components::{Stats, config::SearchConfig};
use rayon::prelude::*;
use std::collections::VecDeque;

/// One player: an evaluator and the way to search with it.
pub struct Agent {
    /// Gives policies and values.
    pub evaluator: Box<dyn Evaluator>,
    /// How it searches.
    pub search: SearchConfig,
    /// Its positions of this tick.
    pub batch: Batch,
    /// The evaluations that were received last.
    pub evaluations: Evaluations,
    /// Batches that were submitted and not received yet: the first lane of their cohort, and their rows.
    pub(crate) in_flight: VecDeque<(usize, usize)>,
    /// Whether the logits that were received last have numbers that are not finite. Those of illegal moves may be so;
    /// which ones are legal is looked up where the positions are, before they are expanded.
    pub(crate) check_legal: bool,
}

/// The players. Tree `i` of each lane searches for agent `i`; self-play has one.
#[derive(Resource)]
pub struct Agents(pub Vec<Agent>);

/// Submits the batches of the lanes that have selected, then receives those of the lanes that are to be answered.
pub fn evaluate(
    mut agents: ResMut<Agents>,
    mut stats: ResMut<Stats>,
    mut failure: ResMut<Failure>,
    cohorts: Res<Cohorts>,
) {
    let (selecting, answered) = (cohorts.selecting(), cohorts.answered());
    for agent in &mut agents.0 {
        let mut exchange = || {
            if agent.batch.rows > 0 && !selecting.is_empty() {
                agent.submit(selecting.start)?;
            }
            match agent.in_flight.pop_front_if(|(first, _)| !answered.is_empty() && *first == answered.start) {
                Some((_, rows)) => receive(agent, rows, &mut stats),
                None => Ok(()),
            }
        };
        if let Err(error) = exchange() {
            failure.set(error);
        }
    }
}

impl Agent {
    /// Submits the batch, for the cohort that begins with this lane.
    pub(crate) fn submit(&mut self, first_lane: usize) -> Result<(), Error> {
        self.evaluator.submit(&self.batch)?;
        self.in_flight.push_back((first_lane, self.batch.rows));
        Ok(())
    }
}

fn receive(agent: &mut Agent, rows: usize, stats: &mut Stats) -> Result<(), Error> {
    agent.evaluator.receive(&mut agent.evaluations)?;
    let out = &agent.evaluations;
    let actions = out.logits.len() / out.values.len();
    // Without a branch, so that the compiler makes vectors of it.
    let bad = |numbers: &[f32]| numbers.iter().fold(false, |bad, x| bad | !x.is_finite());
    let chunk = rows.div_ceil(rayon::current_num_threads()).max(256);
    if bad(&out.values[..rows]) {
        let count = out.values[..rows].iter().filter(|x| !x.is_finite()).count();
        return Err(Error::EvaluationNotFinite { count, rows });
    }
    agent.check_legal = out.logits[..rows * actions].par_chunks(chunk * actions).any(bad);
    stats.batches += 1;
    stats.evaluations += rows as u64;
    stats.computed += out.computed as u64;
    Ok(())
}
