//! A pending evaluation.

use crate::game::Game;
use bevy_ecs::prelude::*;

/// The tree that this pending evaluation belongs to.
#[derive(Component, Clone, Copy, Debug)]
#[relationship(relationship_target = Leaves)]
pub struct LeafOf(pub Entity);

/// The pending evaluations of a tree.
#[derive(Component, Clone, Debug, Default)]
#[relationship_target(relationship = LeafOf)]
pub struct Leaves(Vec<Entity>);

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
#[derive(Component, Clone, Copy, Debug)]
pub struct Leaf<G: Game> {
    /// The position to evaluate.
    pub position: G,
    /// The same as the network is asked: the canonical one of its symmetric forms, so that an evaluation does not depend
    /// on which of them came first.
    pub asked: G,
    /// The symmetry that leads from `position` to `asked`.
    pub symmetry: u8,
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
    /// A position that a descent has reached through an edge of a node, or the one at the root.
    #[inline]
    pub fn new(position: G, node: u32, edge: u32) -> Self {
        let (asked, symmetry) = position.canonical();
        Self { position, asked, symmetry: symmetry as u8, edge, node, collisions: 0, state: LeafState::Selected }
    }
}

impl<G: Game> Default for Leaf<G> {
    fn default() -> Self {
        let start = G::start();
        let edge = crate::tree::ROOT;
        Self { position: start, asked: start, symmetry: 0, edge, node: 0, collisions: 0, state: LeafState::Idle }
    }
}
