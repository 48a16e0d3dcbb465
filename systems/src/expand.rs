//! `TickSystems::Expand`: evaluations become nodes and go up the trees.

use crate::{
    Agent,
    agent::{Inference, in_order},
    rows::{HEAVY, Rows},
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Evaluation, Game, Leaf, LeafState, Outcome, SearchBudget, Slot, Tree, TreeState,
    tree::{Child, ROOT},
};
use rayon::prelude::*;

/// Resolves every group of leaves: expands them and backs their values up, in their order. Marks the searches that are
/// complete.
pub fn expand<G: Game>(
    mut rows: Rows<&Slot, (&mut Tree, &SearchBudget), &mut Leaf<G>>,
    agents: Query<(&Agent, &Inference)>,
) {
    let agents = in_order(agents.iter());
    rows.answered().par_rows(HEAVY).for_each(|(slot, trees)| {
        for (((tree, budget), leaves), inference) in trees.zip(&agents[slot.0.into()..]) {
            expand_tree(tree, *budget, leaves, inference);
        }
    });
}

/// The same for one tree.
#[inline]
pub fn expand_tree<G: Game>(tree: &mut Tree, budget: SearchBudget, leaves: &mut [Leaf<G>], inference: &Inference) {
    for leaf in leaves {
        match leaf.state {
            LeafState::Pending { row } => expand_leaf(tree, leaf, inference.evaluation::<G>(row)),
            LeafState::Known { .. } => expand_known(tree, leaf),
            LeafState::Idle | LeafState::Selected => continue,
        }
        leaf.state = LeafState::Idle;
    }
    let spent = tree.simulations_at_root() >= budget.simulations;
    if tree.state == TreeState::Searching && (spent || tree.proven.is_some()) {
        tree.state = TreeState::Complete;
    }
}

/// Adds the node of a leaf with this evaluation of [`Leaf::asked`], and backs its value up.
pub fn expand_leaf<G: Game>(tree: &mut Tree, leaf: &Leaf<G>, evaluation: Evaluation) {
    let node = add_node(tree, leaf, evaluation);
    link(tree, leaf, node, evaluation.value);
}

#[inline]
fn add_node<G: Game>(tree: &mut Tree, leaf: &Leaf<G>, evaluation: Evaluation) -> u32 {
    let node = tree.push_node(leaf.node, leaf.edge, evaluation.value, leaf.position.legal());
    for edge in tree.edges_mut(node) {
        edge.set_prior(evaluation.prior(G::transform_action(edge.action(), leaf.symmetry.into())));
    }
    node
}

/// Adds the node of a leaf whose evaluation is in the cache, which may have lost it when the group is complete. Its edge
/// stays pending until [`expand_known`].
pub fn add_known<G: Game>(tree: &mut Tree, leaf: &mut Leaf<G>, evaluation: Evaluation) {
    let node = add_node(tree, leaf, evaluation);
    tree.cache_hits += 1;
    leaf.state = LeafState::Known { node, value: evaluation.value };
}

/// Makes the edge of such a leaf lead to its node, and backs its value up. Does nothing with other leaves.
#[inline]
pub fn expand_known<G: Game>(tree: &mut Tree, leaf: &Leaf<G>) {
    if let LeafState::Known { node, value } = leaf.state {
        link(tree, leaf, node, value);
    }
}

/// Makes the edge of a leaf lead to its node, and takes its value in.
#[inline]
fn link<G: Game>(tree: &mut Tree, leaf: &Leaf<G>, node: u32, value: f32) {
    if leaf.edge == ROOT {
        tree.root_visits = 1;
        tree.root_value_sum = value;
        tree.state = TreeState::Expanded;
    } else {
        tree.edge_mut(leaf.edge).set_child(Child::Node(node));
        backup(tree, leaf.node, leaf.edge, value);
    }
}

/// Finishes a descent: adds its value to every edge from a leaf to the root.
///
/// `value` is for the player to move behind `edge`, who is the opponent of the one who chooses at `node`; the sign
/// changes at each step up.
#[inline]
pub(crate) fn backup(tree: &mut Tree, mut node: u32, mut edge: u32, value: f32) {
    let mut value = -value;
    loop {
        tree.edge_mut(edge).finish(value);
        (node, edge) = tree.parent(node);
        if edge == ROOT {
            return finish_at_root(tree, value);
        }
        value = -value;
    }
}

/// The end of a descent at the root, with a value for the player to move there.
#[inline]
fn finish_at_root(tree: &mut Tree, value: f32) {
    tree.root_in_flight -= 1;
    tree.root_visits += 1;
    tree.root_value_sum += value;
}

/// Backs up a result that has just become known behind `edge`, for the player to move there, and proves what follows
/// from it: a node with a move that wins is won, and one whose moves are all known is worth the best of them
/// (MCTS-Solver, Winands et al. 2008). From a proven node upwards, its result takes the place of the value.
pub(crate) fn settle(tree: &mut Tree, mut node: u32, mut edge: u32, mut outcome: Outcome) {
    loop {
        let value = -outcome.value();
        tree.edge_mut(edge).finish(value);
        let known = tree.known(node);
        let (parent, parent_edge) = tree.parent(node);
        match known {
            Some(known) if parent_edge == ROOT => {
                finish_at_root(tree, known.value());
                tree.proven = Some(known);
                tree.counts.proofs += 1;
                return;
            }
            Some(known) => {
                tree.edge_mut(parent_edge).set_child(Child::Terminal(known));
                (node, edge, outcome) = (parent, parent_edge, known);
            }
            None if parent_edge == ROOT => return finish_at_root(tree, value),
            None => return backup(tree, parent, parent_edge, value),
        }
    }
}
