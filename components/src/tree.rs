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

/// In the place of an edge's cell: the root itself, to which no edge leads.
pub const ROOT: u32 = u32::MAX;

/// What a tree is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeState {
    /// The tree has no nodes: the root needs an evaluation first.
    #[default]
    Empty,
    /// The root has its edges and waits for the `Root` system to draw the budget and mix in the noise.
    Expanded,
    /// Simulations are under way.
    Searching,
    /// The search is over; the `Act` system will choose the move.
    Complete,
    /// There is nothing to search: it is the other player's turn, or no game or question is left.
    Idle,
}

/// How far the current search goes.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchBudget {
    /// The number of simulations through the root at which the search is complete, those of a kept sub-tree included.
    pub simulations: u32,
    /// Whether this is a full search, whose visits become a policy target.
    pub full: bool,
    /// If set, the simulations that the next searches of this tree take instead of those of the settings; they are then
    /// full searches.
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
    /// Simulations of the largest search that the tree has room for.
    room: u32,
    /// Visits of the root: its own evaluation and every finished simulation.
    pub root_visits: u32,
    /// Descents from the root whose values are not known yet.
    pub root_in_flight: u32,
    /// Sum of the values at the root, for the player to move there.
    pub root_value_sum: f32,
    /// The result of the root for the player to move there, once the search has proven it.
    pub proven: Option<Outcome>,
    /// What the tree is doing.
    pub state: TreeState,
    /// Counts of the searches since they were last taken out, which is usually one search.
    pub counts: Counts,
    /// Simulations and new roots whose evaluation was in the cache, since the number was last taken out.
    pub cache_hits: u32,
    /// The priors of the root's edges at the beginning of its search, before noise.
    raw_priors: Vec<f32>,
    /// The actions of the last descent, from the root to the edge at which it ended.
    pub path: Vec<Action>,
}

/// Counts of one or more searches. They are the same however the searches were scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Simulations that were made.
    pub simulations: u32,
    /// Simulations that ended in a known result and needed no evaluation.
    pub terminals: u32,
    /// Searches whose root was proven when they ended, in the search or before it began.
    pub proofs: u32,
    /// Sum of the depths of the simulations, in plies.
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

/// Whether the players to move in two positions are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(u32);

impl Turn {
    /// The same player is to move in both positions.
    pub const SAME: Self = Self(0);

    /// The turn between two positions in which the players to move are the same, or not.
    #[inline]
    pub fn of(same: bool) -> Self {
        Self(if same { 0 } else { TURNED })
    }

    /// Whether the same player is to move in both positions.
    #[inline]
    pub fn is_same(self) -> bool {
        self.0 == 0
    }

    /// Converts a value for the player to move in one position to one for the player to move in the other: negated if
    /// they differ.
    #[inline]
    pub fn value(self, value: f32) -> f32 {
        // `TURNED` is the sign bit of a float.
        f32::from_bits(value.to_bits() ^ self.0)
    }

    /// Converts an outcome for the player to move in one position to one for the player to move in the other.
    #[inline]
    pub fn outcome(self, outcome: Outcome) -> Outcome {
        if self.is_same() { outcome } else { outcome.reversed() }
    }

    /// The turn from the first of three positions to the third, where `self` leads from the first to the second and
    /// `other` from the second to the third.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl Tree {
    /// A tree for searches of at most `simulations` simulations in the game `G`.
    ///
    /// There is room for the root and one node for each simulation, with [`Game::ROOM`] edges on average. A search that
    /// needs more ends when the tree is full.
    ///
    /// # Panics
    /// If the tree would need 2^30 - 2 cells or more.
    pub fn new<G: Game>(simulations: u32) -> Self {
        Self::with_moves(simulations, G::ROOM, G::MAX_LEGAL)
    }

    /// A tree for searches of at most `simulations` simulations in a game whose nodes have `room` edges on average and
    /// at most `most`.
    ///
    /// # Panics
    /// If the tree would need 2^30 - 2 cells or more.
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

    /// Bytes of a tree for searches of at most `simulations` simulations in a game. The lists of raw priors and of the
    /// path are not included.
    pub fn bytes(game: &GameInfo, simulations: u32) -> usize {
        let lists = game.max_legal * size_of::<f32>() + game.max_plies * size_of::<Action>();
        size_of::<Self>() + lists + Self::cells(simulations, game.room, game.max_legal) * size_of::<Edge>()
    }

    /// How many more nodes the slab has room for if each of them has `max_legal` edges.
    #[inline]
    pub fn free_nodes(&self, max_legal: usize) -> usize {
        (self.cells.len() - self.top as usize) / (max_legal + 1)
    }

    /// Removes all nodes, and resets the counts and the statistics of the root.
    pub fn clear(&mut self) {
        self.top = 0;
        self.root_visits = 0;
        self.root_in_flight = 0;
        self.root_value_sum = 0.0;
        self.proven = None;
        self.state = TreeState::Empty;
        self.counts = Counts::default();
    }

    /// Simulations of the largest search that the tree has room for.
    pub fn room(&self) -> u32 {
        self.room
    }

    /// Whether the tree has no root yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.top == 0
    }

    /// Adds the node behind the edge in cell `parent_edge` of `parent_node`, or the root if that is [`ROOT`], and
    /// returns the node's cell. The priors are 0, `value` is that of the node's evaluation for the player to move
    /// there, and `turn` tells whether that is the player to move at the parent. The edge does not lead to the node
    /// yet.
    ///
    /// # Panics
    /// If the slab has no cell left for the node. Edges for which no cell is left are dropped, so ask
    /// [`Tree::free_nodes`] first.
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

    /// Removes the edges whose actions are not `wanted` from a node, which must be the one that was added last. Returns
    /// whether any edge was removed.
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

    /// The edge in a cell: edge `i` of node `n` is in cell `n + 1 + i`.
    #[inline]
    pub fn edge(&self, cell: u32) -> &Edge {
        &self.cells[cell as usize]
    }

    /// Mutable access to the edges of a node, in ascending order of their actions.
    #[inline]
    pub fn edges_mut(&mut self, node: u32) -> &mut [Edge] {
        let first = node as usize + 1;
        let count = self.cells[node as usize].edges() as usize;
        &mut self.cells[first..first + count]
    }

    /// Mutable access to the edge in a cell.
    #[inline]
    pub fn edge_mut(&mut self, cell: u32) -> &mut Edge {
        &mut self.cells[cell as usize]
    }

    /// The cells of the node and of the edge that lead to a node; the edge is [`ROOT`] for the root.
    #[inline]
    pub fn parent(&self, node: u32) -> (u32, u32) {
        let header = &self.cells[node as usize];
        (header.counts, header.policy)
    }

    /// Whether the player to move at a node is the one to move at its parent.
    #[inline]
    pub fn turn(&self, node: u32) -> Turn {
        Turn(self.cells[node as usize].child & TURNED)
    }

    /// The value that the evaluation of a node gave, for the player to move there.
    #[inline]
    pub fn raw_value(&self, node: u32) -> f32 {
        self.cells[node as usize].value_sum
    }

    /// The edges of the root; empty while the tree is empty.
    pub fn root_edges(&self) -> &[Edge] {
        if self.is_empty() { &[] } else { self.edges(0) }
    }

    /// The priors of the root's edges at the beginning of its search, before noise: those of the network, or of a kept
    /// sub-tree.
    pub fn raw_priors(&self) -> &[f32] {
        &self.raw_priors
    }

    /// Stores the present priors of the root's edges as [`Tree::raw_priors`], at the beginning of a search.
    pub fn keep_raw_priors(&mut self) {
        let mut raw = std::mem::take(&mut self.raw_priors);
        raw.clear();
        raw.extend(self.root_edges().iter().map(Edge::prior));
        self.raw_priors = raw;
    }

    /// The value of the root for the player to move there: its result if it is proven, else the mean value; 0 without
    /// visits.
    pub fn root_value(&self) -> f32 {
        if let Some(outcome) = self.proven {
            return outcome.value();
        }
        if self.root_visits == 0 { 0.0 } else { self.root_value_sum / self.root_visits as f32 }
    }

    /// The result of a node for the player to move there, as far as the results of its edges decide it: a win if an
    /// edge is known to win, else the best result if those of all edges are known.
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

    /// Makes the child behind a root move the new root, and keeps its sub-tree, moved to the front of the slab, and the
    /// result that is proven for it. Without such a child the tree is cleared.
    ///
    /// Works in place in two passes over the nodes in order: the first leaves in each header where its node goes, in the
    /// place of its parent; the second moves each node and tells its children where their parent has gone. Both rely on
    /// children lying behind their parents.
    ///
    /// # Panics
    /// If a leaf of the kept sub-tree is in flight.
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
