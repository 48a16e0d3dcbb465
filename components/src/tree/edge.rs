//! The cells of a tree: edges, and the headers of nodes in the same 16 bytes.

use crate::game::{Action, Outcome};

/// What an edge leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// Nothing yet.
    Unexpanded,
    /// A leaf that waits for its evaluation.
    Pending,
    /// A result that is known for the player to move there: the end of the game, or proven by the search.
    Terminal(Outcome),
    /// The node at this cell.
    Node(u32),
}

const UNEXPANDED: u32 = u32::MAX;
pub(super) const PENDING: u32 = u32::MAX - 1;
const LOSS: u32 = u32::MAX - 2;
const DRAW: u32 = u32::MAX - 3;
const WIN: u32 = u32::MAX - 4;
/// Cells of nodes are below this.
pub(super) const FIRST_MARK: u32 = WIN;

/// A move from a node, with its statistics: 16 bytes.
///
/// **Values are from the view of the player to move at the node that owns the edge**: the one who chooses among its
/// edges. An evaluation is given for the player to move at the leaf, so it changes sign once for each edge on the
/// way back to the root.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(16))]
pub struct Edge {
    /// The prior as bfloat16 in the upper half, the action in the lower.
    pub(super) policy: u32,
    /// Sum of the values that were backed up through this edge, virtual losses of leaves in flight included.
    pub value_sum: f32,
    /// Simulations through this edge, those in flight included.
    pub visits: u32,
    /// See [`Edge::child`].
    pub(super) child: u32,
}

impl Edge {
    /// An edge without visits. The prior is rounded to 8 bits of mantissa.
    #[inline]
    pub fn new(action: Action, prior: f32) -> Self {
        let mut edge = Self { policy: action.into(), value_sum: 0.0, visits: 0, child: UNEXPANDED };
        edge.set_prior(prior);
        edge
    }

    /// The move.
    #[inline]
    pub fn action(&self) -> Action {
        self.policy as Action
    }

    /// The network's probability of the move, after noise at the root.
    #[inline]
    pub fn prior(&self) -> f32 {
        f32::from_bits(self.policy & 0xffff_0000)
    }

    /// Replaces the prior.
    #[inline]
    pub fn set_prior(&mut self, prior: f32) {
        // To the nearest bfloat16; a prior is a small positive number, so the carry cannot overflow.
        self.policy = (prior.to_bits() + 0x8000) & 0xffff_0000 | self.policy & 0xffff;
    }

    /// Mean value, or `unvisited` when there is none.
    #[inline]
    pub fn value_or(&self, unvisited: f32) -> f32 {
        if self.visits == 0 { unvisited } else { self.value_sum / self.visits as f32 }
    }

    /// The result that is known of this move, for the player who chooses it.
    #[inline]
    pub fn known(&self) -> Option<Outcome> {
        match self.child {
            LOSS => Some(Outcome::Win),
            DRAW => Some(Outcome::Draw),
            WIN => Some(Outcome::Loss),
            _ => None,
        }
    }

    /// Whether it is known that this move loses.
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.child == WIN
    }

    /// What the edge leads to.
    #[inline]
    pub fn child(&self) -> Child {
        match self.child {
            UNEXPANDED => Child::Unexpanded,
            PENDING => Child::Pending,
            LOSS => Child::Terminal(Outcome::Loss),
            DRAW => Child::Terminal(Outcome::Draw),
            WIN => Child::Terminal(Outcome::Win),
            cell => Child::Node(cell),
        }
    }

    /// Sets what the edge leads to.
    #[inline]
    pub fn set_child(&mut self, child: Child) {
        self.child = match child {
            Child::Unexpanded => UNEXPANDED,
            Child::Pending => PENDING,
            Child::Terminal(Outcome::Loss) => LOSS,
            Child::Terminal(Outcome::Draw) => DRAW,
            Child::Terminal(Outcome::Win) => WIN,
            Child::Node(cell) => cell,
        };
    }

    /// A node's header is a cell of the same size in front of its edges:
    /// its parent's edge and node, and how many edges follow.
    #[inline]
    pub(super) fn header(parent_node: u32, parent_edge: u32, edges: u32) -> Self {
        Self { policy: parent_edge, value_sum: 0.0, visits: parent_node, child: edges }
    }
}
