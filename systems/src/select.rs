//! `TickSystems::Select`: descends each tree to positions that need the network.

use crate::{
    Agents, Cohorts, Error, Failure, SelectionRule,
    columns::*,
    expand::{add_known, backup, expand_known, settle},
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Cache, Caches, Game, Leaf, LeafState, Position, SearchBudget, Slot, Stats, Tree, TreeState,
    tree::{Child, Counts, ROOT},
};
use rayon::prelude::*;

/// The selection rule of each agent.
#[derive(Resource)]
pub struct Rules<R: SelectionRule>(pub Vec<R>);

/// Fills the leaves of every tree that is searching.
pub fn select<G: Game, R: SelectionRule>(
    lanes: Query<(&Position<G>, &Slot)>,
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
    let (positions, slots) = only(lanes.contiguous_iter());
    let (mut trees, budgets) = only(trees.contiguous_iter_mut());
    let mut leaves = only(leaves.contiguous_iter_mut());
    let leaves = leaves.bypass_change_detection();
    let per_lane = budgets.len() / positions.len();
    let per_tree = leaves.len() / budgets.len();
    let rows = times(&range, per_lane);
    let selected = positions[range.clone()]
        .par_iter()
        .zip(&slots[range.clone()])
        .zip(trees.bypass_change_detection()[rows.clone()].par_chunks_mut(per_lane))
        .zip(budgets[rows].par_chunks(per_lane))
        .zip(leaves[times(&range, per_lane * per_tree)].par_chunks_mut(per_lane * per_tree))
        .with_min_len(rows_per_task(range.len(), HEAVY))
        .fold(Selected::default, |mut selected, ((((position, slot), trees), budgets), leaves)| {
            let rows = trees.iter_mut().zip(budgets).zip(leaves.chunks_mut(per_tree));
            let agents = rules.0.iter().zip(&agents.0).zip(&caches.0).enumerate().skip(slot.0.into());
            for (((tree, budget), leaves), (i, ((rule, agent), cache))) in rows.zip(agents) {
                let descents = Descents { solver: agent.search.solver, cache: cache.is_on().then_some(cache) };
                let before = tree.counts;
                let wrong = select_leaves(tree, &position.0, budget.simulations, leaves, rule, descents);
                if let Some(wrong) = wrong {
                    selected.no_edge.get_or_insert((i, wrong));
                }
                selected.counts = selected.counts + (tree.counts - before);
                selected.hits += std::mem::take(&mut tree.cache_hits);
            }
            selected
        })
        // The first lane's mistake, whatever the threads.
        .reduce(Selected::default, |a, b| Selected {
            counts: a.counts + b.counts,
            hits: a.hits + b.hits,
            no_edge: a.no_edge.or(b.no_edge),
        });
    stats.add(selected.counts);
    stats.cache_hits += u64::from(selected.hits);
    if let Some((agent, NoEdge { index, edges })) = selected.no_edge {
        failure.set(Error::NoSuchEdge { agent, index, edges });
    }
}

/// What a tick's descents come to.
#[derive(Default)]
struct Selected {
    counts: Counts,
    hits: u32,
    /// The agent whose rule has chosen an edge that there is not.
    no_edge: Option<(usize, NoEdge)>,
}

/// How a tree is descended.
#[derive(Debug)]
pub struct Descents<'a, G: Game> {
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

/// Collisions of a group, for each leaf that it may have, after which it is closed with the leaves that it has. Counts in
/// flight have room for them: see [`Edge::in_flight`](lockstep_components::Edge::in_flight).
const COLLISIONS: usize = 2;

/// Selects a group of leaves that are to be evaluated, and then resolved in their order.
///
/// A group that needs no evaluation, because all its positions are in the cache, is resolved at once, and the next one
/// begins. So the cache decides when a group is resolved, and never what it holds: no search depends on it.
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
    if tree.state == TreeState::Empty {
        leaves[0] = Leaf::new(*root, 0, ROOT);
    }
    if tree.state != TreeState::Searching {
        return None;
    }
    loop {
        let (count, wrong) = select_group(tree, root, budget, leaves, rule, descents);
        let group = &mut leaves[..count];
        if wrong.is_some() || group.is_empty() || group.iter().any(|leaf| leaf.state == LeafState::Selected) {
            return wrong;
        }
        for leaf in group {
            expand_known(tree, leaf);
            leaf.state = LeafState::Idle;
        }
    }
}

/// Descends until each leaf has a position, or the budget is spent, and returns how many leaves have one.
///
/// Results that are known without an evaluation are backed up at once and take no leaf. A descent that meets a leaf of its
/// own group is a collision: it stays in flight until the group is closed, so that the next descents are drawn elsewhere,
/// and is then taken back.
#[inline]
fn select_group<G: Game, R: SelectionRule>(
    tree: &mut Tree,
    root: &G,
    budget: u32,
    leaves: &mut [Leaf<G>],
    rule: &R,
    descents: Descents<G>,
) -> (usize, Option<NoEdge>) {
    let (mut count, mut collisions) = (0, 0);
    let mut wrong = None;
    while count < leaves.len() && tree.simulations_at_root() + (count as u32) < budget && tree.proven.is_none() {
        match descend(tree, root, rule, descents.solver) {
            Descent::Leaf { position, node, edge } => {
                let mut leaf = Leaf::new(position, node, edge);
                if let Some(cached) = descents.cache.and_then(|cache| cache.get(&leaf.asked)) {
                    add_known(tree, &mut leaf, cached);
                }
                leaves[count] = leaf;
                count += 1;
            }
            Descent::Terminal => {}
            Descent::Met { edge } => {
                let met = leaves[..count].iter_mut().find(|leaf| leaf.edge == edge);
                met.expect("a pending edge leads to a leaf of the group").collisions += 1;
                collisions += 1;
                if collisions == COLLISIONS * leaves.len() {
                    break;
                }
            }
            Descent::NoEdge(index) => {
                wrong = Some(index);
                break;
            }
        }
    }
    if collisions > 0 {
        for leaf in leaves[..count].iter_mut().filter(|leaf| leaf.collisions > 0) {
            leave(tree, leaf.node, leaf.edge, leaf.collisions.into());
            leaf.collisions = 0;
        }
    }
    (count, wrong)
}

enum Descent<G> {
    Leaf { position: G, node: u32, edge: u32 },
    Terminal,
    Met { edge: u32 },
    NoEdge(NoEdge),
}

/// One descent from the root, in flight on every edge that it passes. It is finished if its result is known.
#[inline]
fn descend<G: Game, R: SelectionRule>(tree: &mut Tree, root: &G, rule: &R, solver: bool) -> Descent<G> {
    let mut position = *root;
    let mut node = 0;
    let (mut visits, mut in_flight) = (tree.root_visits, tree.root_in_flight);
    let mut value = tree.root_value();
    let mut depth = 0;
    tree.root_in_flight += 1;
    let descent = loop {
        let edges = tree.edges(node);
        let (chosen, count) = (rule.select(edges, visits, in_flight, value), edges.len());
        if chosen >= count {
            let (parent, edge) = tree.parent(node);
            leave(tree, parent, edge, 1);
            return Descent::NoEdge(NoEdge { index: chosen, edges: count });
        }
        let edge = node + 1 + chosen as u32;
        depth += 1;
        let taken = tree.edge_mut(edge);
        position.play(taken.action());
        let (before, child) = (*taken, taken.child());
        taken.enter();
        match child {
            Child::Node(child) => {
                node = child;
                (visits, in_flight) = (before.visits(), before.in_flight());
                // A node is linked when its own evaluation is backed up, so there is a finished visit.
                value = -before.value_sum / before.visits() as f32;
            }
            Child::Terminal(outcome) => {
                backup(tree, node, edge, outcome.value());
                break Descent::Terminal;
            }
            Child::Pending => return Descent::Met { edge },
            Child::Unexpanded => match position.outcome() {
                Some(outcome) => {
                    tree.edge_mut(edge).set_child(Child::Terminal(outcome));
                    if solver {
                        settle(tree, node, edge, outcome);
                    } else {
                        backup(tree, node, edge, outcome.value());
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

/// Takes descents back that are in flight on the path to an edge.
#[cold]
fn leave(tree: &mut Tree, mut node: u32, mut edge: u32, descents: u32) {
    tree.root_in_flight -= descents;
    while edge != ROOT {
        tree.edge_mut(edge).leave(descents);
        (node, edge) = tree.parent(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Puct, Uniform, insert_lanes, run_tick, tick::search_schedule};
    use lockstep_components::{
        config::{LanesConfig, SearchConfig},
        games::ConnectFour,
    };

    /// Every simulation of a node but its own evaluation has passed through one of its edges, and is finished.
    fn check_node(tree: &Tree, node: u32, visits: u32) {
        let edges = tree.edges(node);
        assert_eq!(1 + edges.iter().map(|edge| edge.visits()).sum::<u32>(), visits);
        for edge in edges {
            assert_eq!((edge.in_flight(), edge.value_sum), (0, 0.0));
            match edge.child() {
                Child::Node(child) => check_node(tree, child, edge.visits()),
                other => assert_eq!((other, edge.visits()), (Child::Unexpanded, 0)),
            }
        }
    }

    #[test]
    fn what_was_in_flight_leaves_no_trace() {
        for (leaves_per_tree, cache_mb) in [(1, 0), (8, 0), (8, 1), (32, 0)] {
            let mut world = World::new();
            let search = SearchConfig { simulations: 150, cache_mb, ..Default::default() };
            let lanes = LanesConfig { count: 1, leaves_per_tree, ..Default::default() };
            insert_lanes::<ConnectFour, Puct>(&mut world, &lanes, 1, vec![(Box::new(Uniform::default()), search)]);
            world.add_schedule(search_schedule::<ConnectFour, Puct>());
            let mut trees = world.query::<&Tree>();
            while trees.single(&world).unwrap().state != TreeState::Complete {
                run_tick(&mut world).unwrap();
            }
            let tree = trees.single(&world).unwrap();
            assert_eq!((tree.root_visits, tree.root_in_flight, tree.root_value()), (151, 0, 0.0));
            check_node(tree, 0, 151);
            assert_eq!(world.resource::<Stats>().simulations, 150, "collisions are no simulations");
        }
    }
}
