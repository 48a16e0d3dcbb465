//! `TickSystems::Collect`: the selected leaves of all lanes become one batch per agent.

use crate::{Agents, columns::*};
use bevy_ecs::prelude::*;
use lockstep_components::{Game, Leaf, LeafState};
use rayon::prelude::*;

/// Gives each selected leaf a row in its agent's batch, in row order, and encodes its position.
pub fn collect<G: Game>(mut leaves: Query<&mut Leaf<G>>, mut agents: ResMut<Agents>, per_tree: Res<LeavesPerTree>) {
    let mut leaves = only(leaves.contiguous_iter_mut());
    let leaves = leaves.bypass_change_detection();
    let players = agents.0.len();
    for agent in &mut agents.0 {
        agent.batch.leaves.clear();
        agent.batch.rows = 0;
    }
    for (i, leaf) in leaves.iter_mut().enumerate() {
        if leaf.state == LeafState::Selected {
            let batch = &mut agents.0[i / per_tree.0 % players].batch;
            leaf.state = LeafState::Pending { row: batch.rows as u32 };
            batch.leaves.push(i as u32);
            batch.rows += 1;
        }
    }
    for agent in &mut agents.0 {
        let batch = &mut agent.batch;
        let positions = batch.positions.downcast_mut::<Vec<G>>().expect("the batch holds positions of this game");
        positions.clear();
        positions.extend(batch.leaves.iter().map(|&leaf| leaves[leaf as usize].position));
        batch.planes[..batch.rows * G::INPUT]
            .par_chunks_exact_mut(G::INPUT)
            .zip(positions.par_iter())
            .with_min_len(lanes_per_task(batch.rows))
            .for_each(|(planes, position)| position.encode(planes));
    }
}

/// Pending evaluations of each tree.
#[derive(Resource, Clone, Copy, Debug)]
pub struct LeavesPerTree(pub usize);
