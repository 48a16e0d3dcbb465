//! A pending evaluation.

use crate::{game::Game, tree::Turn};
use bevy_ecs::prelude::*;

/// Whether a leaf waits for an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LeafState {
    /// No leaf of the group.
    Idle,
    /// Selected; `Collect` will give it a row.
    Selected,
    /// Its evaluation is this row of the agent's batch.
    Pending {
        /// The row.
        row: u32,
    },
    /// Its evaluation was in the cache. The node is there, but its edge does not lead to it before the leaves in front of
    /// it are known too: what a search does must not depend on what is in the cache.
    Known {
        /// Cell of the node.
        node: u32,
        /// Its value.
        value: f32,
    },
}

/// One position on its way to the network and back.
#[derive(Component, Clone, Debug)]
pub struct Leaf<G: Game> {
    /// The state to evaluate. Descents make it in place, from the one at the root.
    pub position: G,
    /// Its key as the network is asked: the canonical one of its symmetric forms, so that an evaluation does not depend
    /// on which of them came first.
    pub asked: G::Key,
    /// The symmetry that leads from the key of `position` to `asked`.
    pub symmetry: u8,
    /// Whether the player to move is the one who chose the edge: never, where the players alternate.
    pub turn: Turn,
    /// Cell of the edge that leads to it, or [`crate::tree::ROOT`] when the root itself is to be expanded.
    /// The path back to the root is found through the nodes' parents.
    pub edge: u32,
    /// Cell of the node that owns the edge.
    pub node: u32,
    /// Other descents of the group that have met this leaf, while the group is selected.
    pub collisions: u16,
    /// Where the evaluation stands.
    pub state: LeafState,
}

impl<G: Game> Leaf<G> {
    /// An idle one with the state of a root.
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

    /// `position` has become the state that a descent has reached through an edge of a node, or the one at the root.
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
