//! `TickSystems::Select`: descends each tree to positions that need the network.

use crate::{Agents, SelectionRule, columns::*, expand::backup};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Game, Leaf, LeafState, Position, SearchBudget, Tree, TreeState,
    tree::{Child, ROOT},
};
use rayon::prelude::*;

/// The selection rule of each agent.
#[derive(Resource)]
pub struct Rules<R: SelectionRule>(pub Vec<R>);

/// Fills the leaves of every tree that is searching.
pub fn select<G: Game, R: SelectionRule>(
    lanes: Query<&Position<G>>,
    mut trees: Query<(&mut Tree, &SearchBudget)>,
    mut leaves: Query<&mut Leaf<G>>,
    agents: Res<Agents>,
    rules: Res<Rules<R>>,
) {
    let positions = only(lanes.contiguous_iter());
    let (mut trees, budgets) = only(trees.contiguous_iter_mut());
    let mut leaves = only(leaves.contiguous_iter_mut());
    let leaves = leaves.bypass_change_detection();
    let per_lane = agents.0.len();
    let per_tree = leaves.len() / budgets.len();
    positions
        .par_iter()
        .zip(trees.bypass_change_detection().par_chunks_mut(per_lane))
        .zip(budgets.par_chunks(per_lane))
        .zip(leaves.par_chunks_mut(per_lane * per_tree))
        .with_min_len(lanes_per_task(positions.len()))
        .for_each(|(((position, trees), budgets), leaves)| {
            let rows = trees.iter_mut().zip(budgets).zip(leaves.chunks_mut(per_tree));
            for (((tree, budget), leaves), (rule, agent)) in rows.zip(rules.0.iter().zip(&agents.0)) {
                // One leaf at a time needs no virtual loss.
                let virtual_loss = if per_tree > 1 { agent.search.virtual_loss } else { 0.0 };
                select_leaves(tree, &position.0, budget.simulations, leaves, rule, virtual_loss);
            }
        });
}

/// Descends until each leaf has a position for the network, or the budget is spent.
///
/// Ends of games are backed up at once and the tree goes on, so no leaf is wasted on them. When two descents of one
/// tick meet at the same position the second is undone and the tree waits for the first.
pub fn select_leaves<G: Game, R: SelectionRule>(
    tree: &mut Tree,
    root: &G,
    budget: u32,
    leaves: &mut [Leaf<G>],
    rule: &R,
    virtual_loss: f32,
) {
    leaves.iter_mut().for_each(|leaf| leaf.state = LeafState::Idle);
    if tree.state == TreeState::Empty {
        leaves[0] = Leaf { position: *root, edge: ROOT, node: 0, state: LeafState::Selected };
    }
    if tree.state != TreeState::Searching {
        return;
    }
    'leaves: for leaf in leaves {
        loop {
            if tree.simulations_at_root() >= budget {
                break 'leaves;
            }
            match descend(tree, root, rule, virtual_loss) {
                Descent::Leaf { position, node, edge } => {
                    *leaf = Leaf { position, edge, node, state: LeafState::Selected };
                    break;
                }
                Descent::Terminal => {}
                Descent::Met => break 'leaves,
            }
        }
    }
}

enum Descent<G> {
    Leaf { position: G, node: u32, edge: u32 },
    Terminal,
    Met,
}

/// One descent from the root. Counts the visit, and takes the virtual loss, on every edge that it passes.
#[inline]
fn descend<G: Game, R: SelectionRule>(tree: &mut Tree, root: &G, rule: &R, virtual_loss: f32) -> Descent<G> {
    let mut position = *root;
    let mut node = 0;
    let mut visits = tree.root_visits;
    let mut value = tree.root_value();
    let mut depth = 0;
    tree.root_visits += 1;
    let descent = loop {
        let chosen = rule.select(tree.edges(node), visits, value);
        let edge = node + 1 + chosen as u32;
        depth += 1;
        let taken = tree.edge_mut(edge);
        position.play(taken.action());
        let (before, child) = (*taken, taken.child());
        taken.visits += 1;
        taken.value_sum -= virtual_loss;
        match child {
            Child::Node(child) => {
                node = child;
                visits = before.visits;
                value = -before.value_sum / before.visits as f32;
            }
            Child::Terminal(outcome) => {
                backup(tree, node, edge, outcome.value(), virtual_loss);
                break Descent::Terminal;
            }
            Child::Pending => {
                undo(tree, node, edge, virtual_loss);
                return Descent::Met;
            }
            Child::Unexpanded => match position.outcome() {
                Some(outcome) => {
                    tree.edge_mut(edge).set_child(Child::Terminal(outcome));
                    backup(tree, node, edge, outcome.value(), virtual_loss);
                    break Descent::Terminal;
                }
                None => {
                    tree.edge_mut(edge).set_child(Child::Pending);
                    break Descent::Leaf { position, node, edge };
                }
            },
        }
    };
    tree.simulations += 1;
    tree.depth_sum += depth;
    tree.terminals += u32::from(matches!(descent, Descent::Terminal));
    descent
}

/// Takes back what a descent has counted.
#[cold]
fn undo(tree: &mut Tree, mut node: u32, mut edge: u32, virtual_loss: f32) {
    tree.root_visits -= 1;
    while edge != ROOT {
        let taken = tree.edge_mut(edge);
        taken.visits -= 1;
        taken.value_sum += virtual_loss;
        (node, edge) = tree.parent(node);
    }
}
