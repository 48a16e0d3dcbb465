//! The search tree of one lane, or of one player in a match.

mod edge;

pub use edge::{Child, Edge, bfloat16};

use crate::{
    game::{Action, Game, Outcome},
    info::GameInfo,
};
use bevy_ecs::prelude::*;
use edge::{CELL, CELLS, PENDING, TURNED};
use serde::{Deserialize, Serialize};

/// Stands for "the root itself" where an edge is named.
pub const ROOT: u32 = u32::MAX;

/// What a tree is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeState {
    /// No nodes: the root needs an evaluation first. `Root` draws its budget.
    #[default]
    Empty,
    /// The root has its edges and waits for `Root` to draw the budget and mix in the noise.
    Expanded,
    /// Simulations are under way.
    Searching,
    /// The budget is spent; `Act` will choose the move.
    Complete,
    /// Nothing to search: the other player's turn, or no position left to analyse.
    Idle,
}

/// How far the current search goes.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchBudget {
    /// The search is complete when so many simulations have passed through the root, those of a kept sub-tree included.
    pub simulations: u32,
    /// Whether this is a full search, whose visits become a policy target.
    pub full: bool,
    /// Simulations that the next searches of this tree take in place of those of the settings.
    pub asked: Option<u32>,
}

/// A search tree in one slab of cells that is allocated once.
///
/// A node is a header cell followed by its edges, so a descent touches neighbouring memory. Nodes are added at the
/// end, hence a child always lies behind its parent. Ends of games are marks in the edges and take no cell.
///
/// For the sign convention of values see [`Edge`]; the root's own value is for the player to move at the root.
#[derive(Component, Clone, Debug)]
pub struct Tree {
    cells: Box<[Edge]>,
    top: u32,
    /// Simulations of the largest search that there is room for.
    room: u32,
    /// Visits of the root: its own evaluation, and every finished simulation.
    pub root_visits: u32,
    /// Descents from the root whose values are not known yet.
    pub root_in_flight: u32,
    /// Sum of the values at the root, for the player to move there.
    pub root_value_sum: f32,
    /// The result of the root for the player to move there, once the search has proven it.
    pub proven: Option<Outcome>,
    /// What the tree is doing.
    pub state: TreeState,
    /// What it has counted since that was last taken: in one search, or in more of them while nobody asks.
    pub counts: Counts,
    /// Simulations and new roots whose evaluation was in the cache, since that was last taken.
    pub cache_hits: u32,
    /// The priors of the root's edges as its search began with them.
    raw_priors: Vec<f32>,
    /// The moves of the last descent, from the root to the edge that it came to.
    pub path: Vec<Action>,
}

/// What searches count: the same however they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Simulations.
    pub simulations: u32,
    /// Of these, the ones that ended in a known result.
    pub terminals: u32,
    /// Searches whose root was proven when they ended: in them, or before they began.
    pub proofs: u32,
    /// Depths of the simulations, summed.
    pub depth_sum: u64,
    /// Searches that ended because their tree was full.
    pub full: u32,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            simulations: self.simulations + other.simulations,
            terminals: self.terminals + other.terminals,
            proofs: self.proofs + other.proofs,
            depth_sum: self.depth_sum + other.depth_sum,
            full: self.full + other.full,
        }
    }
}

/// Whether two players to move are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(u32);

impl Turn {
    /// They are.
    pub const SAME: Self = Self(0);

    /// Of players who are the same or not.
    #[inline]
    pub fn of(same: bool) -> Self {
        Self(if same { 0 } else { TURNED })
    }

    /// Whether they are.
    #[inline]
    pub fn is_same(self) -> bool {
        self.0 == 0
    }

    /// A value for the one, as the other sees it.
    #[inline]
    pub fn value(self, value: f32) -> f32 {
        // The mark is where a float has its sign.
        f32::from_bits(value.to_bits() ^ self.0)
    }

    /// An outcome for the one, as the other sees it.
    #[inline]
    pub fn outcome(self, outcome: Outcome) -> Outcome {
        if self.is_same() { outcome } else { outcome.reversed() }
    }

    /// First this, then that.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl Tree {
    /// A tree for searches of so many simulations in a game.
    ///
    /// There is room for one node for each simulation and one for the root, with [`Game::ROOM`] edges in the mean. A search that needs more ends when the tree is full.
    ///
    /// # Panics
    /// If that is 2^30 cells or more.
    pub fn new<G: Game>(simulations: u32) -> Self {
        Self::with_moves(simulations, G::ROOM, G::MAX_LEGAL)
    }

    /// The same with room for so many moves of a node in the mean, and where it has at most so many.
    pub fn with_moves(simulations: u32, room: usize, most: usize) -> Self {
        let cells = Self::cells(simulations, room, most);
        assert!(cells < CELLS as usize, "a tree of {cells} cells is too large");
        Self {
            cells: vec![Edge::header(0, 0, Turn::SAME, 0, 0.0); cells].into_boxed_slice(),
            top: 0,
            room: simulations,
            root_visits: 0,
            root_in_flight: 0,
            root_value_sum: 0.0,
            proven: None,
            state: TreeState::Empty,
            counts: Counts::default(),
            cache_hits: 0,
            raw_priors: vec![],
            path: vec![],
        }
    }

    fn cells(simulations: u32, room: usize, most: usize) -> usize {
        let nodes = simulations as usize;
        // The root, and as much as is left when the next node might not fit any more.
        let usual = 2 * (most + 1) + nodes * (room + 1);
        usual.min((nodes + 1) * (most + 1))
    }

    /// Bytes that a tree of a game occupies.
    pub fn bytes(game: &GameInfo, simulations: u32) -> usize {
        size_of::<Self>() + Self::cells(simulations, game.room, game.max_legal) * size_of::<Edge>()
    }

    /// How many nodes there is room for, whatever their moves.
    #[inline]
    pub fn free_nodes(&self, max_legal: usize) -> usize {
        (self.cells.len() - self.top as usize) / (max_legal + 1)
    }

    /// Removes all nodes.
    pub fn clear(&mut self) {
        self.top = 0;
        self.root_visits = 0;
        self.root_in_flight = 0;
        self.root_value_sum = 0.0;
        self.proven = None;
        self.state = TreeState::Empty;
        self.counts = Counts::default();
    }

    /// Simulations of the largest search that there is room for.
    pub fn room(&self) -> u32 {
        self.room
    }

    /// Whether there is no root yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.top == 0
    }

    /// Adds a node behind `parent_edge` of `parent_node`, or the root, and returns its cell. Its priors are 0; `value` is
    /// that of its evaluation, for the player to move there, and `turn` whether that is the one at the parent. The
    /// edge does not lead to it yet.
    ///
    /// # Panics
    /// If the slab is full: see [`Tree::free_nodes`].
    #[inline]
    pub fn push_node(
        &mut self,
        parent_node: u32,
        parent_edge: u32,
        turn: Turn,
        value: f32,
        actions: impl Iterator<Item = Action>,
    ) -> u32 {
        let node = self.top as usize;
        let mut count = 0;
        for (cell, action) in self.cells[node + 1..].iter_mut().zip(actions) {
            *cell = Edge::new(action, 0.0);
            count += 1;
        }
        self.cells[node] = Edge::header(parent_node, parent_edge, turn, count, value);
        self.top += 1 + count;
        node as u32
    }

    /// Takes those edges off the node that was added last whose moves are not wanted, and returns whether there were any.
    #[inline]
    pub fn retain_edges(&mut self, node: u32, wanted: impl Fn(Action) -> bool) -> bool {
        let edges = self.edges(node);
        let Some(mut kept) = edges.iter().position(|edge| !wanted(edge.action())) else { return false };
        let (first, count) = (node as usize + 1, edges.len());
        debug_assert_eq!(first + count, self.top as usize, "the last node");
        for i in kept + 1..count {
            if wanted(self.cells[first + i].action()) {
                self.cells[first + kept] = self.cells[first + i];
                kept += 1;
            }
        }
        let gone = (count - kept) as u32;
        self.cells[node as usize].child -= gone;
        self.top -= gone;
        true
    }

    /// The edges of a node, in ascending order of their actions.
    #[inline]
    pub fn edges(&self, node: u32) -> &[Edge] {
        let first = node as usize + 1;
        &self.cells[first..first + self.cells[node as usize].edges() as usize]
    }

    /// The edge at a cell: edge `i` of node `n` is at `n + 1 + i`.
    #[inline]
    pub fn edge(&self, cell: u32) -> &Edge {
        &self.cells[cell as usize]
    }

    /// The same, to change.
    #[inline]
    pub fn edges_mut(&mut self, node: u32) -> &mut [Edge] {
        let first = node as usize + 1;
        let count = self.cells[node as usize].edges() as usize;
        &mut self.cells[first..first + count]
    }

    /// The edge at a cell, to change.
    #[inline]
    pub fn edge_mut(&mut self, cell: u32) -> &mut Edge {
        &mut self.cells[cell as usize]
    }

    /// The node and edge that lead to a node; the edge is [`ROOT`] for the root.
    #[inline]
    pub fn parent(&self, node: u32) -> (u32, u32) {
        let header = &self.cells[node as usize];
        (header.counts, header.policy)
    }

    /// Whether the player to move at a node is the one at its parent.
    #[inline]
    pub fn turn(&self, node: u32) -> Turn {
        Turn(self.cells[node as usize].child & TURNED)
    }

    /// The value that the evaluation of a node gave, for the player to move there.
    #[inline]
    pub fn raw_value(&self, node: u32) -> f32 {
        self.cells[node as usize].value_sum
    }

    /// The edges of the root; none while the tree is empty.
    pub fn root_edges(&self) -> &[Edge] {
        if self.is_empty() { &[] } else { self.edges(0) }
    }

    /// The priors of the root's edges as they were when its search began: the network's, without noise, or those of a kept
    /// sub-tree.
    pub fn raw_priors(&self) -> &[f32] {
        &self.raw_priors
    }

    /// Notes the priors of the root's edges: a search begins.
    pub fn keep_raw_priors(&mut self) {
        let mut raw = std::mem::take(&mut self.raw_priors);
        raw.clear();
        raw.extend(self.root_edges().iter().map(Edge::prior));
        self.raw_priors = raw;
    }

    /// Value of the root for the player to move there: its result if it is proven, else the mean; 0 without visits.
    pub fn root_value(&self) -> f32 {
        if let Some(outcome) = self.proven {
            return outcome.value();
        }
        if self.root_visits == 0 { 0.0 } else { self.root_value_sum / self.root_visits as f32 }
    }

    /// The result of a node for the player to move there, if that of its moves is known: a win if one wins, else the best
    /// one if all are known.
    #[inline]
    pub fn known(&self, node: u32) -> Option<Outcome> {
        let mut best = Some(Outcome::Loss);
        for edge in self.edges(node) {
            match edge.known() {
                Some(Outcome::Win) => return Some(Outcome::Win),
                Some(Outcome::Draw) => best = best.map(|_| Outcome::Draw),
                Some(Outcome::Loss) => {}
                None => best = None,
            }
        }
        best
    }

    /// Finished simulations that have passed through the root, those of a kept sub-tree included.
    #[inline]
    pub fn simulations_at_root(&self) -> u32 {
        self.root_visits.saturating_sub(1)
    }

    /// Makes the child behind a root move the new root and keeps its sub-tree, moved to the front of the slab, with the
    /// result that is proven of it. Without such a child the tree is cleared.
    ///
    /// Works in place in two passes over the nodes in order: the first leaves in each header where its node goes, in the
    /// place of its parent; the second moves each node and tells its children where their parent has gone. Both rely on
    /// children lying behind their parents.
    ///
    /// # Panics
    /// If a leaf is in flight.
    pub fn keep_subtree(&mut self, action: Action) {
        let kept = self.root_edges().iter().find(|edge| edge.action() == action).copied();
        let Some((edge, root)) = kept.and_then(|edge| Some((edge, edge.node()?))) else {
            return self.clear();
        };
        const GONE: u32 = u32::MAX;
        let (root, end) = (root as usize, self.top as usize);
        self.cells[0].counts = GONE;
        let (mut top, mut node) = (0, self.edges(0).len() + 1);
        while node < end {
            let (count, parent) = (self.cells[node].edges(), self.cells[node].counts);
            let kept = node == root || self.cells[parent as usize].counts != GONE;
            self.cells[node].counts = if kept { top } else { GONE };
            top += if kept { 1 + count } else { 0 };
            node += 1 + count as usize;
        }
        node = root;
        while node < end {
            let Edge { counts, policy, .. } = self.cells[node];
            let count = self.cells[node].edges();
            if counts != GONE {
                let target = if node == root { 0 } else { self.cells[policy as usize].child & CELL };
                self.cells.copy_within(node..=node + count as usize, target as usize);
                for cell in target + 1..=target + count {
                    let edge = self.cells[cell as usize];
                    assert_ne!(edge.child, PENDING, "a leaf is in flight while its tree moves on");
                    if let Some(child) = edge.node() {
                        let header = &mut self.cells[child as usize];
                        let to = std::mem::replace(&mut header.counts, target);
                        header.policy = cell;
                        self.cells[cell as usize].move_node(to);
                    }
                }
            }
            node += 1 + count as usize;
        }
        (self.cells[0].counts, self.cells[0].policy) = (0, ROOT);
        self.top = top;
        self.root_visits = edge.visits();
        let turn = self.turn(0);
        self.root_value_sum = turn.value(edge.value_sum);
        self.proven = edge.known().map(|outcome| turn.outcome(outcome));
        self.state = TreeState::Expanded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as nested lists, which no renumbering changes.
    fn shape(tree: &Tree, node: u32) -> String {
        let turn = match tree.turn(node).is_same() {
            _ if node == 0 => "",
            true => "+",
            false => "-",
        };
        let mut text = format!("({turn}{} ", tree.raw_value(node));
        for (i, edge) in tree.edges(node).iter().enumerate() {
            text += &format!("{}:{}:{}:{:?} ", edge.action(), edge.visits(), edge.value_sum, edge.known());
            if let Some(child) = edge.node() {
                assert_eq!(tree.parent(child), (node, node + 1 + i as u32));
                text += &shape(tree, child);
            }
        }
        text + ")"
    }

    #[test]
    fn keeping_a_subtree_keeps_exactly_it() {
        let mut rng = crate::LaneRng::new(7, 0);
        for _ in 0..200 {
            let mut tree = Tree::with_moves(60, 5, 5);
            tree.push_node(0, ROOT, Turn::SAME, 0.0, 0..5);
            let mut nodes = vec![0];
            while nodes.len() < 60 {
                let node = nodes[rng.below(nodes.len())];
                let count = tree.edges(node).len();
                let Some(i) = count.checked_sub(1).map(|n| rng.below(n + 1)) else { continue };
                let cell = node + 1 + i as u32;
                tree.edge_mut(cell).enter();
                tree.edge_mut(cell).finish(rng.unit());
                if tree.edges(node)[i].child() == Child::Unexpanded {
                    let edges = rng.below(6) as u16;
                    let added = tree.push_node(node, cell, Turn::of(rng.below(3) == 0), rng.unit(), 0..edges);
                    tree.edge_mut(cell).set_child(Child::Node(added));
                    // The node behind a proven move is kept as well.
                    if rng.below(8) == 0 {
                        tree.edge_mut(cell).set_child(Child::Terminal(Outcome::Draw));
                    }
                    nodes.push(added);
                }
            }
            let action = rng.below(5) as u16;
            let edge = tree.edges(0)[action as usize];
            let turn = edge.node().map(|child| tree.turn(child));
            // The root of what is kept has no parent to have passed the turn.
            let before = edge.node().map(|child| shape(&tree, child).replacen(['+', '-'], "", 1));
            tree.keep_subtree(action);
            let after = (!tree.is_empty()).then(|| shape(&tree, 0));
            assert_eq!(before, after);
            if after.is_some() {
                let turned = turn == Some(Turn::of(false));
                let proven = edge.known().map(|known| if turned { known.reversed() } else { known });
                assert_eq!((tree.root_visits, tree.proven), (edge.visits(), proven));
                assert_eq!(tree.root_value_sum, if turned { -edge.value_sum } else { edge.value_sum });
            }
        }
    }

    #[test]
    fn priors_are_rounded_and_actions_kept() {
        for prior in [0.0, 1e-7, 1.0 / 3.0, 0.999, 1.0] {
            let edge = Edge::new(40_000, prior);
            assert_eq!(edge.action(), 40_000);
            assert!((edge.prior() - prior).abs() <= prior / 256.0);
        }
        assert_eq!(size_of::<Edge>(), 16);
    }
}
