//! `TickSystems::Collect`: the selected leaves of all lanes become one batch per agent.

use crate::{
    Agent,
    agent::{Inference, in_order},
    rows::Rows,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Game, Leaf, LeafState, Slot, Stats};
use rustc_hash::FxHashMap;

/// The row of each key of the batch that is being collected.
#[derive(Resource, Debug)]
pub struct SharedRows<G: Game>(FxHashMap<G::Key, u32>);

impl<G: Game> SharedRows<G> {
    /// With room for batches of so many rows.
    pub fn new(capacity: usize) -> Self {
        Self(FxHashMap::with_capacity_and_hasher(capacity, Default::default()))
    }
}

/// Gives each selected leaf a row in its agent's batch, in row order, and encodes the keys. Leaves of one agent
/// with the same key share a row, unless its cache is off.
pub fn collect<G: Game>(
    mut rows: Rows<&Slot, (), &mut Leaf<G>>,
    mut agents: Query<(&Agent, (&mut Inference, &Cache<G>))>,
    mut shared: ResMut<SharedRows<G>>,
    mut stats: ResMut<Stats>,
) {
    for (i, (mut inference, cache)) in in_order(agents.iter_mut()).into_iter().enumerate() {
        shared.0.clear();
        inference.batch.fill::<G>(|keys| {
            for (slot, trees) in rows.collected() {
                let Some(tree) = i.checked_sub(slot.0.into()) else { continue };
                let Some(((), leaves)) = { trees }.nth(tree) else { continue };
                for leaf in leaves.iter_mut().filter(|leaf| leaf.state == LeafState::Selected) {
                    let new = keys.len() as u32;
                    let row = if cache.is_on() { *shared.0.entry(leaf.asked).or_insert(new) } else { new };
                    leaf.state = LeafState::Pending { row };
                    if row == new {
                        keys.push(leaf.asked);
                    } else {
                        stats.duplicates += 1;
                    }
                }
            }
        });
    }
}
