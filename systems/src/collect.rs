//! `TickSystems::Collect`: the selected leaves of all lanes become one batch per agent.

use crate::{Agents, Cohorts, columns::*};
use bevy_ecs::prelude::*;
use lockstep_components::{Caches, Game, Leaf, LeafState, Slot, Stats};
use rustc_hash::FxHashMap;

/// Pending evaluations of each tree.
#[derive(Resource, Clone, Copy, Debug)]
pub struct LeavesPerTree(pub usize);

/// The row of each position of the batch that is being collected.
#[derive(Resource, Debug, Default)]
pub struct SharedRows<G: Game>(FxHashMap<G, u32>);

impl<G: Game> SharedRows<G> {
    /// With room for batches of so many rows.
    pub fn new(capacity: usize) -> Self {
        Self(FxHashMap::with_capacity_and_hasher(capacity, Default::default()))
    }
}

/// Gives each selected leaf a row in its agent's batch, in row order, and encodes the positions. Leaves of one agent
/// with the same position share a row, unless its cache is off.
pub fn collect<G: Game>(
    lanes: Query<&Slot>,
    mut leaves: Query<&mut Leaf<G>>,
    mut agents: ResMut<Agents>,
    per_tree: Res<LeavesPerTree>,
    caches: Res<Caches<G>>,
    mut shared: ResMut<SharedRows<G>>,
    cohorts: Res<Cohorts>,
    mut stats: ResMut<Stats>,
) {
    let slots = only(lanes.contiguous_iter());
    let mut leaves = only(leaves.contiguous_iter_mut());
    let leaves = leaves.bypass_change_detection();
    let per_lane = leaves.len() / slots.len();
    let leaves = &mut leaves[times(&cohorts.selecting(), per_lane)];
    let slots = &slots[cohorts.selecting()];
    let agents_in_play = agents.0.len();
    for (i, (agent, cache)) in agents.0.iter_mut().zip(&caches.0).enumerate() {
        shared.0.clear();
        agent.batch.fill::<G>(|positions| {
            let mut give_row = |leaf: &mut Leaf<G>| {
                if leaf.state != LeafState::Selected {
                    return;
                }
                let new = positions.len() as u32;
                let row = if cache.is_on() { *shared.0.entry(leaf.asked).or_insert(new) } else { new };
                leaf.state = LeafState::Pending { row };
                if row == new {
                    positions.push(leaf.asked);
                } else {
                    stats.duplicates += 1;
                }
            };
            if agents_in_play == 1 {
                return leaves.iter_mut().for_each(give_row);
            }
            let own = leaves.chunks_mut(per_lane).zip(slots);
            let own = own.filter_map(|(leaves, slot)| leaves.chunks_mut(per_tree.0).nth(i.checked_sub(slot.0.into())?));
            own.flatten().for_each(&mut give_row);
        });
    }
}
