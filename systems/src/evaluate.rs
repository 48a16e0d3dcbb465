//! `TickSystems::Evaluate`: hands each agent's batch to its evaluator and takes the answers.

use crate::{
    Agent, Cohorts, Error, Failure,
    agent::{Inference, in_order},
};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Game, Stats};

/// Submits the batches of the collected lanes, then receives the batches of the lanes that are answered in this tick
/// and adds the evaluations to the caches, in row order.
pub fn evaluate<G: Game>(
    mut agents: Query<(&Agent, (&mut Inference, &mut Cache<G>))>,
    mut stats: ResMut<Stats>,
    failure: Res<Failure>,
    cohorts: Res<Cohorts>,
) {
    let (collected, answered) = (cohorts.collected(), cohorts.answered());
    for (mut inference, mut cache) in in_order(agents.iter_mut()) {
        if std::mem::take(&mut inference.replaced) {
            cache.clear();
        }
        let mut exchange = || -> Result<(), Error> {
            if inference.batch.rows > 0 && !collected.is_empty() {
                inference.submit::<G>(collected.start)?;
            }
            if answered.is_empty() {
                return Ok(());
            }
            if let Some((rows, computed)) = inference.receive::<G>(answered.start, &mut cache)? {
                stats.batches += 1;
                stats.evaluations += rows as u64;
                stats.computed += computed as u64;
            }
            Ok(())
        };
        if let Err(error) = exchange() {
            failure.set(error);
        }
    }
}
