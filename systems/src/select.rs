//! `TickSystems::Select`: descends each tree to positions that need the network.

use crate::{
    Error, SearchPolicy,
    expand::{add_known, backup, expand_known, prove},
    policy::{Node, Policy, PolicyState, Search},
};
use bevy_ecs::prelude::*;
use lockstep_components::{
    Cache, Game, Leaf, LeafState, Outcome, Tree, TreeState,
    tree::{Child, ROOT, Turn},
};

/// The error of a policy that returned an index which is none of a node's edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEdge {
    /// The index that the policy returned.
    pub index: usize,
    /// Number of edges of the node.
    pub edges: usize,
}

impl NoEdge {
    /// The error as one of an agent.
    pub(crate) fn of(self, agent: usize) -> Error {
        Error::NoSuchEdge { agent, index: self.index, edges: self.edges }
    }
}

/// Collisions for each leaf that a group may have, after which the group is closed with the leaves that it has. Counts
/// in flight have room for them: see [`Edge::in_flight`](lockstep_components::Edge::in_flight).
const COLLISIONS: usize = 2;

/// Descends a tree that is searching and fills a group of leaves, which are then evaluated and resolved in their order.
/// An empty tree gets its root as the only leaf; other trees are left alone. `root` is the state at the root, and
/// `budget` the number of simulations at which the search ends. Simulations are counted in [`Tree::counts`].
///
/// A group whose positions are all in the cache is resolved at once, and the next one begins. So the cache decides when
/// a group is resolved and never what the group holds, and the results of a search do not depend on it.
///
/// # Errors
/// When the policy has chosen an index that is no edge, which ends the descents.
pub fn select_leaves<G: Game>(
    tree: &mut Tree,
    root: &G,
    budget: u32,
    leaves: &mut [Leaf<G>],
    policy: &SearchPolicy,
    mut search: Search<PolicyState>,
    cache: Option<&Cache<G>>,
) -> Result<(), NoEdge> {
    if tree.state == TreeState::Empty {
        leaves[0].position.clone_from(root);
        leaves[0].select(0, ROOT, Turn::SAME);
    }
    if tree.state != TreeState::Searching {
        return Ok(());
    }
    loop {
        let (count, selected) = select_group(tree, root, budget, leaves, policy, &mut search, cache);
        let group = &mut leaves[..count];
        if selected.is_err() || group.is_empty() || group.iter().any(|leaf| leaf.state == LeafState::Selected) {
            return selected;
        }
        for leaf in group {
            expand_known(tree, leaf);
            leaf.state = LeafState::Idle;
        }
    }
}

/// Descends until each leaf has a position or the budget is spent, and returns how many leaves have one.
///
/// Results that are known without an evaluation are backed up at once and take no leaf. A descent that meets a leaf of its
/// own group is a collision: it stays in flight until the group is closed, so that the next descents are drawn elsewhere,
/// and is then taken back.
///
/// A tree without room for the nodes of a whole group gets a smaller group. Its size does not depend on what the cache
/// has already put into the tree, because all nodes of former groups are there.
#[inline]
fn select_group<G: Game>(
    tree: &mut Tree,
    root: &G,
    budget: u32,
    leaves: &mut [Leaf<G>],
    policy: &SearchPolicy,
    search: &mut Search<PolicyState>,
    cache: Option<&Cache<G>>,
) -> (usize, Result<(), NoEdge>) {
    let (mut count, mut collisions) = (0, 0);
    let mut selected = Ok(());
    let most = leaves.len().min(tree.free_nodes(G::MAX_LEGAL));
    while count < most && tree.simulations_at_root() + (count as u32) < budget && tree.proven.is_none() {
        match policy.0.descend(search.lent(), tree) {
            Descent::New { node, edge, turn } => {
                let leaf = &mut leaves[count];
                leaf.position.clone_from(root);
                tree.path.iter().for_each(|&action| leaf.position.play(action));
                let turn = turn.and(Turn::of(leaf.position.to_move() == root.to_move()));
                if let Some(outcome) = leaf.position.outcome() {
                    end_at(tree, node, edge, turn.outcome(outcome), search.settings.solver);
                    continue;
                }
                tree.edge_mut(edge).set_child(Child::Pending);
                leaf.select(node, edge, turn);
                if let Some(cached) = cache.and_then(|cache| cache.get(&leaf.asked)) {
                    add_known(tree, leaf, cached);
                }
                count += 1;
            }
            Descent::Known => {}
            Descent::Met { edge } => {
                let met = leaves[..count].iter_mut().find(|leaf| leaf.edge == edge);
                met.expect("a pending edge leads to a leaf of the group").collisions += 1;
                collisions += 1;
                if collisions == COLLISIONS * leaves.len() {
                    break;
                }
            }
            Descent::NoEdge(wrong) => {
                selected = Err(wrong);
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
    (count, selected)
}

/// How a descent has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// At an edge that no descent had followed before. Behind the edge is the position after the moves of
    /// [`Tree::path`].
    New {
        /// The cell of the node that owns the edge.
        node: u32,
        /// The cell of the edge.
        edge: u32,
        /// Whether the player to move at the node is the one to move at the root.
        turn: Turn,
    },
    /// At a known result, which was backed up.
    Known,
    /// At an edge behind which an evaluation is pending.
    Met {
        /// The cell of the edge.
        edge: u32,
    },
    /// The policy has chosen an index that is no edge. The descent was taken back.
    NoEdge(NoEdge),
}

/// Makes one descent from the root of a tree, which is then in flight on every edge that it has passed. A descent that
/// ends at a known result is backed up at once. The rules of the game have no part in it: the moves are left in
/// [`Tree::path`].
pub fn descend<P: Policy>(tree: &mut Tree, policy: &P, search: &mut Search<P::State>) -> Descent {
    let mut turn = Turn::SAME;
    let mut node = 0;
    let (mut visits, mut in_flight) = (tree.root_visits, tree.root_in_flight);
    let mut value = tree.root_value();
    let mut depth = 0;
    tree.root_in_flight += 1;
    tree.path.clear();
    let descent = loop {
        let count = tree.edges(node).len();
        let at = Node { tree, cell: node, depth, visits, in_flight, value };
        let chosen = if depth == 0 { policy.root(search, at) } else { policy.inner(search, at) };
        if chosen >= count {
            let (parent, edge) = tree.parent(node);
            leave(tree, parent, edge, 1);
            return Descent::NoEdge(NoEdge { index: chosen, edges: count });
        }
        let edge = node + 1 + chosen as u32;
        depth += 1;
        let taken = tree.edge_mut(edge);
        let (before, child) = (*taken, taken.child());
        taken.enter();
        tree.path.push(before.action());
        match child {
            Child::Node(child) => {
                node = child;
                (visits, in_flight) = (before.visits(), before.in_flight());
                let turned = tree.turn(child);
                turn = turn.and(turned);
                // A node is linked when its own evaluation is backed up, so there is a finished visit.
                value = turned.value(before.value_sum / before.visits() as f32);
            }
            Child::Terminal(outcome) => {
                tree.counts.terminals += 1;
                backup(tree, node, edge, outcome.value());
                break Descent::Known;
            }
            Child::Pending => break Descent::Met { edge },
            Child::Unexpanded => break Descent::New { node, edge, turn },
        }
    };
    // A descent that has met another one is taken back later, so it does not count.
    if !matches!(descent, Descent::Met { .. }) {
        tree.counts.simulations += 1;
        tree.counts.depth_sum += u64::from(depth);
    }
    descent
}

/// Backs up the end of a game behind a new edge, with the outcome for the player who chooses the edge.
fn end_at(tree: &mut Tree, node: u32, edge: u32, outcome: Outcome, solver: bool) {
    tree.counts.terminals += 1;
    tree.edge_mut(edge).set_child(Child::Terminal(outcome));
    if solver {
        prove(tree, node, edge, outcome);
    } else {
        backup(tree, node, edge, outcome.value());
    }
}

/// Takes back `descents` descents that are in flight on the path to an edge, that edge included.
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
    use crate::{AnyGame, Searcher, Setup, Uniform, run_tick};
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
            let search = SearchConfig { simulations: 150, cache_mb, ..Default::default() };
            let lanes = LanesConfig { count: 1, leaves_per_tree, ..Default::default() };
            let player = Searcher::new(Uniform::default(), search);
            let mut world = Setup::search_only(AnyGame::of::<ConnectFour>(), player).lanes(lanes).build();
            let mut trees = world.query::<&Tree>();
            while trees.single(&world).unwrap().state != TreeState::Complete {
                run_tick(&mut world).unwrap();
            }
            let tree = trees.single(&world).unwrap();
            assert_eq!((tree.root_visits, tree.root_in_flight, tree.root_value()), (151, 0, 0.0));
            check_node(tree, 0, 151);
            assert_eq!(tree.counts.simulations, 150, "collisions are no simulations");
        }
    }
}
