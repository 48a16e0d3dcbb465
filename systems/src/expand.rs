//! `TickSystems::Expand`: evaluations become nodes and go up the trees.

use crate::{Agents, columns::*};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Game, Leaf, LeafState, SearchBudget, Tree, TreeState,
    tree::{Edge, ROOT},
};
use rayon::prelude::*;

/// Expands every leaf that was evaluated, backs its value up, and marks the searches whose budget is spent.
pub fn expand<G: Game>(
    mut trees: Query<(&mut Tree, &SearchBudget)>,
    mut leaves: Query<&mut Leaf<G>>,
    agents: Res<Agents>,
) {
    let (mut trees, budgets) = only(trees.contiguous_iter_mut());
    let trees = trees.bypass_change_detection();
    let mut leaves = only(leaves.contiguous_iter_mut());
    let leaves = leaves.bypass_change_detection();
    let per_lane = agents.0.len();
    let per_tree = leaves.len() / budgets.len();
    let min_len = lanes_per_task(trees.len() / per_lane);
    trees
        .par_chunks_mut(per_lane)
        .zip(budgets.par_chunks(per_lane))
        .zip(leaves.par_chunks_mut(per_lane * per_tree))
        .with_min_len(min_len)
        .for_each(|((trees, budgets), leaves)| {
            let rows = trees.iter_mut().zip(budgets).zip(leaves.chunks_mut(per_tree));
            for (((tree, budget), leaves), agent) in rows.zip(&agents.0) {
                let virtual_loss = if per_tree > 1 { agent.search.virtual_loss } else { 0.0 };
                for leaf in leaves {
                    if let LeafState::Pending { row } = leaf.state {
                        let row = row as usize;
                        let logits = &agent.evaluations.logits[row * G::ACTIONS..(row + 1) * G::ACTIONS];
                        expand_leaf(tree, leaf, logits, agent.evaluations.values[row], virtual_loss);
                        leaf.state = LeafState::Idle;
                    }
                }
                if tree.state == TreeState::Searching && tree.simulations_at_root() >= budget.simulations {
                    tree.state = TreeState::Complete;
                }
            }
        });
}

/// Adds the node of a leaf and backs its value up. `value` is for the player to move at the leaf.
pub fn expand_leaf<G: Game>(tree: &mut Tree, leaf: &Leaf<G>, logits: &[f32], value: f32, virtual_loss: f32) {
    let node = tree.push_node(leaf.node, leaf.edge, leaf.position.legal());
    set_priors(tree.edges_mut(node), logits);
    if leaf.edge == ROOT {
        tree.root_visits = 1;
        tree.root_value_sum = value;
        tree.state = TreeState::Expanded;
    } else {
        backup(tree, leaf.node, leaf.edge, value, virtual_loss);
    }
}

/// The softmax over the legal moves' logits becomes their priors.
fn set_priors(edges: &mut [Edge], logits: &[f32]) {
    let logit = |edge: &Edge| logits[edge.action() as usize];
    let highest = edges.iter().map(logit).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for edge in edges.iter_mut() {
        // The value sum of a new edge is free to hold the numerator for a moment.
        edge.value_sum = (logit(edge) - highest).exp();
        sum += edge.value_sum;
    }
    for edge in edges {
        edge.set_prior(edge.value_sum / sum);
        edge.value_sum = 0.0;
    }
}

/// Adds a value to every edge from a leaf to the root, and gives the virtual loss of the descent back.
///
/// `value` is for the player to move behind `edge`, who is the opponent of the one who chooses at `node`; the sign
/// changes at each step up. The visits were counted on the way down.
#[inline]
pub(crate) fn backup(tree: &mut Tree, mut node: u32, mut edge: u32, value: f32, virtual_loss: f32) {
    let mut value = -value;
    loop {
        tree.edge_mut(edge).value_sum += value + virtual_loss;
        (node, edge) = tree.parent(node);
        if edge == ROOT {
            tree.root_value_sum += value;
            return;
        }
        value = -value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priors_are_the_softmax_of_legal_logits() {
        let mut tree = Tree::new(1, 3);
        tree.push_node(0, ROOT, [0, 2, 3].into_iter());
        set_priors(tree.edges_mut(0), &[1.0, 100.0, 2.0, 3.0]);
        let priors: Vec<f32> = tree.root_edges().iter().map(|e| e.prior()).collect();
        for (prior, expected) in priors.iter().zip([0.090_03, 0.244_73, 0.665_24]) {
            assert!((prior - expected).abs() < 2e-3, "{priors:?}");
        }
        set_priors(tree.edges_mut(0), &[-3e38, 0.0, -3e38, 3e38]);
        assert_eq!(tree.root_edges()[2].prior(), 1.0, "extreme logits do not overflow");
    }
}
