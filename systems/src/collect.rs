//! `TickSystems::Collect`: the selected leaves of all lanes become one batch per agent.

use crate::{
    Agent,
    agent::{Inference, in_order},
    rows::Rows,
};
use bevy_ecs::prelude::*;
use lockstep_components::{Cache, Game, Leaf, LeafState, Slot, Stats};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// The rows of the keys in the batch that is being collected: a hash table whose keys lie in the batch. Slots are
/// marked with the number of their batch, so the table is emptied in constant time, because this is a serial part of
/// every tick.
#[derive(Resource, Debug)]
pub struct SharedRows {
    /// The number of the batch that has filled a slot, and the row. The number of slots is a power of two, and at least
    /// twice that of rows.
    slots: Vec<(u32, u32)>,
    batch: u32,
}

impl SharedRows {
    /// An empty table for batches of at most `capacity` rows.
    pub fn new(capacity: usize) -> Self {
        Self { slots: vec![(0, 0); (2 * capacity.max(1)).next_power_of_two()], batch: 0 }
    }

    /// Forgets all rows.
    fn begin(&mut self) {
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.slots.fill((0, 0));
            self.batch = 1;
        }
    }

    /// The row of a key among the keys of the batch. A key that is not there gets the next row.
    fn row_of<K: Eq + Hash>(&mut self, key: &K, keys: &[K]) -> u32 {
        let mut hasher = FxHasher::default();
        key.hash(&mut hasher);
        let last = self.slots.len() - 1;
        let mut at = hasher.finish() as usize & last;
        loop {
            let (batch, row) = &mut self.slots[at];
            if *batch != self.batch {
                (*batch, *row) = (self.batch, keys.len() as u32);
                return *row;
            }
            if keys[*row as usize] == *key {
                return *row;
            }
            at = (at + 1) & last;
        }
    }
}

/// Gives each selected leaf a row in its agent's batch, in row order, and encodes the keys. Leaves of an agent with the
/// same key share a row, unless the agent's cache is off.
pub fn collect<G: Game>(
    mut rows: Rows<&Slot, (), &mut Leaf<G>>,
    mut agents: Query<(&Agent, (&mut Inference, &Cache<G>))>,
    mut shared: ResMut<SharedRows>,
    mut stats: ResMut<Stats>,
) {
    for (i, (mut inference, cache)) in in_order(agents.iter_mut()).into_iter().enumerate() {
        shared.begin();
        let reads_planes = inference.evaluator.capabilities().reads_planes;
        inference.batch.fill::<G>(reads_planes, |keys| {
            for (slot, trees) in rows.collected() {
                let Some(tree) = i.checked_sub(slot.0.into()) else { continue };
                let Some(((), leaves)) = { trees }.nth(tree) else { continue };
                for leaf in leaves.iter_mut().filter(|leaf| leaf.state == LeafState::Selected) {
                    let new = keys.len() as u32;
                    let row = if cache.is_on() { shared.row_of(&leaf.asked, keys) } else { new };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_share_rows_and_batches_do_not() {
        // As full as it gets, and the count of batches runs over.
        let mut shared = SharedRows { batch: u32::MAX - 2, ..SharedRows::new(64) };
        let mut rng = lockstep_components::LaneRng::new(1, 1);
        for _ in 0..6 {
            shared.begin();
            let mut keys: Vec<u64> = vec![];
            while keys.len() < 64 {
                // Keys that fall into few slots.
                let key = (rng.below(70) as u64) << 40;
                let known = keys.iter().position(|known| *known == key);
                let row = shared.row_of(&key, &keys);
                assert_eq!(row as usize, known.unwrap_or(keys.len()));
                if known.is_none() {
                    keys.push(key);
                }
            }
        }
    }
}
