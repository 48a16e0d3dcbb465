//! `TickSystems::Evaluate`: hands each agent's batch to its evaluator and takes the answers.

use crate::{Batch, Error, Evaluations, Evaluator, Failure};
use bevy_ecs::prelude::*;
use lockstep_components::{Stats, config::SearchConfig};
use rayon::prelude::*;

/// One player: an evaluator and the way to search with it.
pub struct Agent {
    /// Gives policies and values.
    pub evaluator: Box<dyn Evaluator>,
    /// How it searches.
    pub search: SearchConfig,
    /// Its positions of this tick.
    pub batch: Batch,
    /// Their evaluations.
    pub evaluations: Evaluations,
}

/// The players. Tree `i` of each lane searches for agent `i`; self-play has one.
#[derive(Resource)]
pub struct Agents(pub Vec<Agent>);

/// Evaluates the batches of all agents.
pub fn evaluate(mut agents: ResMut<Agents>, mut stats: ResMut<Stats>, mut failure: ResMut<Failure>) {
    for agent in &mut agents.0 {
        if agent.batch.rows == 0 {
            continue;
        }
        match evaluate_batch(agent) {
            Ok(computed) => {
                stats.evaluations += agent.batch.rows as u64;
                stats.computed += computed as u64;
            }
            Err(error) => failure.set(error),
        }
    }
}

/// Rows that the device computed.
fn evaluate_batch(agent: &mut Agent) -> Result<usize, Error> {
    agent.evaluator.submit(&agent.batch)?;
    agent.evaluator.receive(&mut agent.evaluations)?;
    let (rows, out) = (agent.batch.rows, &agent.evaluations);
    let actions = out.logits.len() / out.values.len();
    // Sums are finite exactly when every summand is, short of an overflow that would be as wrong.
    let bad = |numbers: &[f32]| !numbers.iter().sum::<f32>().is_finite();
    let chunk = rows.div_ceil(rayon::current_num_threads()).max(256);
    let broken = out.logits[..rows * actions].par_chunks(chunk * actions).any(bad) || bad(&out.values[..rows]);
    if broken {
        let count = |numbers: &[f32]| numbers.iter().filter(|x| !x.is_finite()).count();
        let count = count(&out.logits[..rows * actions]) + count(&out.values[..rows]);
        return Err(Error::EvaluationNotFinite { count, rows });
    }
    Ok(out.computed)
}
