//! The leaves of a search: positions that wait for an evaluation.

use crate::{game::Game, tree::Turn};
use bevy_ecs::prelude::*;

/// How far the evaluation of a leaf has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LeafState {
    /// The leaf holds no position of the present group.
    Idle,
    /// The leaf was selected, and the `Collect` system will give it a row of a batch.
    Selected,
    /// The leaf is evaluated as a row of the agent's batch.
    Pending {
        /// The row of the batch.
        row: u32,
    },
    /// The evaluation of the leaf was in the cache. Its node is in the tree, but the edge does not lead there before
    /// the leaves in front of it in the group are known too: what a search does must not depend on what is in the
    /// cache.
    Known {
        /// The cell of the leaf's node.
        node: u32,
        /// The value of the evaluation, for the player to move at the leaf.
        value: f32,
    },
}

/// One position on its way to the network and back.
#[derive(Component, Clone, Debug)]
pub struct Leaf<G: Game> {
    /// The state to evaluate. A descent makes it in place from the state at the root.
    pub position: G,
    /// The key that the evaluator is asked for: the canonical one of the symmetric forms of the position's key, so that
    /// an evaluation does not depend on which of them came first.
    pub asked: G::Key,
    /// The symmetry that leads from the key of `position` to `asked`.
    pub symmetry: u8,
    /// Whether the player to move at the leaf is the one who chose the edge, which is never so where the players
    /// alternate.
    pub turn: Turn,
    /// The cell of the edge that leads to the leaf, or [`crate::tree::ROOT`] when the root itself is to be expanded.
    /// The path back to the root is found through the nodes' parents.
    pub edge: u32,
    /// The cell of the node that owns the edge.
    pub node: u32,
    /// While the group is selected: the other descents of the group that ended at this leaf.
    pub collisions: u16,
    /// How far the evaluation of the leaf has come.
    pub state: LeafState,
}

impl<G: Game> Leaf<G> {
    /// An idle leaf with the state of a root.
    pub fn of_root(position: G) -> Self {
        let (asked, symmetry) = G::canonical(position.key());
        Self {
            position,
            asked,
            symmetry: symmetry as u8,
            turn: Turn::SAME,
            edge: crate::tree::ROOT,
            node: 0,
            collisions: 0,
            state: LeafState::Idle,
        }
    }

    /// Selects the leaf for evaluation. Its `position` must be the state behind the edge in cell `edge` of `node`, or
    /// the state at the root if `edge` is [`crate::tree::ROOT`].
    #[inline]
    pub fn select(&mut self, node: u32, edge: u32, turn: Turn) {
        let (asked, symmetry) = G::canonical(self.position.key());
        (self.asked, self.symmetry, self.turn) = (asked, symmetry as u8, turn);
        (self.node, self.edge) = (node, edge);
        (self.collisions, self.state) = (0, LeafState::Selected);
    }
}

impl<G: Game> Default for Leaf<G> {
    fn default() -> Self {
        Self::of_root(G::start())
    }
}
