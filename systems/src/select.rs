//! `TickSystems::Select`: descends each tree to positions that need the network.

use crate::{
    Agents, Cohorts, Error, Failure, SelectionRule,
    columns::*,
    expand::{backup, expand_cached, settle},
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Cache, Caches, Game, Leaf, LeafState, Position, SearchBudget, Stats, Tree, TreeState,
    tree::{Child, Counts, ROOT},
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
    caches: Res<Caches<G>>,
    cohorts: Res<Cohorts>,
    mut stats: ResMut<Stats>,
    mut failure: ResMut<Failure>,
) {
    let range = cohorts.selecting();
    let positions = only(lanes.contiguous_iter());
    let (mut trees, budgets) = only(trees.contiguous_iter_mut());
    let mut leaves = only(leaves.contiguous_iter_mut());
    let leaves = leaves.bypass_change_detection();
    let per_lane = agents.0.len();
    let per_tree = leaves.len() / budgets.len();
    let rows = times(&range, per_lane);
    let (counts, hits, no_edge) = positions[range.clone()]
        .par_iter()
        .zip(trees.bypass_change_detection()[rows.clone()].par_chunks_mut(per_lane))
        .zip(budgets[rows].par_chunks(per_lane))
        .zip(leaves[times(&range, per_lane * per_tree)].par_chunks_mut(per_lane * per_tree))
        .with_min_len(rows_per_task(range.len(), HEAVY))
        .map(|(((position, trees), budgets), leaves)| {
            let (mut counts, mut hits, mut no_edge) = (Counts::default(), 0, None);
            let rows = trees.iter_mut().zip(budgets).zip(leaves.chunks_mut(per_tree));
            let agents = rules.0.iter().zip(&agents.0).zip(&caches.0);
            for (i, (((tree, budget), leaves), ((rule, agent), cache))) in rows.zip(agents).enumerate() {
                let descents = Descents {
                    // One leaf at a time needs no virtual loss.
                    virtual_loss: if per_tree > 1 { agent.search.virtual_loss } else { 0.0 },
                    solver: agent.search.solver,
                    cache: cache.is_on().then_some(cache),
                };
                let before = tree.counts;
                let wrong = select_leaves(tree, &position.0, budget.simulations, leaves, rule, descents);
                no_edge = no_edge.or(wrong.map(|wrong| (i, wrong)));
                counts = counts + (tree.counts - before);
                hits += std::mem::take(&mut tree.cache_hits);
            }
            (counts, hits, no_edge)
        })
        // The first lane's mistake, whatever the threads.
        .reduce(|| (Counts::default(), 0, None), |a, b| (a.0 + b.0, a.1 + b.1, a.2.or(b.2)));
    stats.add(counts);
    stats.cache_hits += u64::from(hits);
    if let Some((agent, NoEdge { index, edges })) = no_edge {
        failure.set(Error::NoSuchEdge { agent, index, edges });
    }
}

/// How a tree is descended.
#[derive(Debug)]
pub struct Descents<'a, G: Game> {
    /// Value taken off a path for each leaf in flight.
    pub virtual_loss: f32,
    /// Whether proven results go up the tree.
    pub solver: bool,
    /// Evaluations that are known.
    pub cache: Option<&'a Cache<G>>,
}

impl<G: Game> Clone for Descents<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G: Game> Copy for Descents<'_, G> {}

/// What a rule returned that is no index of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEdge {
    /// The index.
    pub index: usize,
    /// Edges of the node.
    pub edges: usize,
}

/// Descends until each leaf has a position for the network, or the budget is spent.
///
/// Known results and positions in the cache are backed up at once and the tree goes on, so no leaf is wasted on them.
/// When two descents of one tick meet at the same position the second is undone and the tree waits for the first.
/// A rule that chooses an edge that there is not ends the descents; what it chose comes back.
pub fn select_leaves<G: Game, R: SelectionRule>(
    tree: &mut Tree,
    root: &G,
    budget: u32,
    leaves: &mut [Leaf<G>],
    rule: &R,
    descents: Descents<G>,
) -> Option<NoEdge> {
    leaves.iter_mut().for_each(|leaf| leaf.state = LeafState::Idle);
    let ask = |position: &G| if descents.cache.is_some() { position.canonical() } else { (*position, 0) };
    let leaf_at = |position, (asked, symmetry): (G, usize), node, edge| Leaf {
        position,
        asked,
        symmetry: symmetry as u8,
        edge,
        node,
        state: LeafState::Selected,
    };
    if tree.state == TreeState::Empty {
        leaves[0] = leaf_at(*root, ask(root), 0, ROOT);
    }
    if tree.state != TreeState::Searching {
        return None;
    }
    'leaves: for leaf in leaves {
        loop {
            if tree.simulations_at_root() >= budget || tree.proven.is_some() {
                break 'leaves;
            }
            match descend(tree, root, rule, descents.virtual_loss, descents.solver) {
                Descent::Leaf { position, node, edge } => {
                    let asked = ask(&position);
                    if let Some(cached) = descents.cache.and_then(|cache| cache.get(&asked.0)) {
                        expand_cached(tree, &position, node, edge, asked.1, cached, descents.virtual_loss);
                        continue;
                    }
                    *leaf = leaf_at(position, asked, node, edge);
                    break;
                }
                Descent::Terminal => {}
                Descent::Met => break 'leaves,
                Descent::NoEdge(wrong) => return Some(wrong),
            }
        }
    }
    None
}

enum Descent<G> {
    Leaf { position: G, node: u32, edge: u32 },
    Terminal,
    Met,
    NoEdge(NoEdge),
}

/// One descent from the root. Counts the visit, and takes the virtual loss, on every edge that it passes.
#[inline]
fn descend<G: Game, R: SelectionRule>(
    tree: &mut Tree,
    root: &G,
    rule: &R,
    virtual_loss: f32,
    solver: bool,
) -> Descent<G> {
    let mut position = *root;
    let mut node = 0;
    let mut visits = tree.root_visits;
    let mut value = tree.root_value();
    let mut depth = 0;
    tree.root_visits += 1;
    let descent = loop {
        let edges = tree.edges(node);
        let (chosen, count) = (rule.select(edges, visits, value), edges.len());
        if chosen >= count {
            let (parent, edge) = tree.parent(node);
            undo(tree, parent, edge, virtual_loss);
            return Descent::NoEdge(NoEdge { index: chosen, edges: count });
        }
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
                    if solver {
                        settle(tree, node, edge, outcome, virtual_loss);
                    } else {
                        backup(tree, node, edge, outcome.value(), virtual_loss);
                    }
                    break Descent::Terminal;
                }
                None => {
                    tree.edge_mut(edge).set_child(Child::Pending);
                    break Descent::Leaf { position, node, edge };
                }
            },
        }
    };
    tree.counts.simulations += 1;
    tree.counts.depth_sum += depth;
    tree.counts.terminals += u32::from(matches!(descent, Descent::Terminal));
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
