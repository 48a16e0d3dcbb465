//! The cells of a tree: edges, and the headers of nodes in the same 16 bytes.

use super::Turn;
use crate::game::{Action, Outcome};

/// What an edge leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// The edge was not followed yet.
    Unexpanded,
    /// The edge leads to a leaf that waits for its evaluation.
    Pending,
    /// The result of the edge is known, for the player who chooses it: the game ends there, or the search has proven
    /// it.
    Terminal(Outcome),
    /// The edge leads to the node at this cell.
    Node(u32),
}

/// Bits for the finished simulations of an edge: enough for the 1,000,000 simulations of the largest search.
const FINISHED_BITS: u32 = Edge::FINISHED_BITS;
const FINISHED: u32 = Edge::FINISHED;
const ONE_IN_FLIGHT: u32 = 1 << FINISHED_BITS;

/// Bits for the cell in [`Edge::child`], or for one of the marks; the two bits above hold a result.
const CELL_BITS: u32 = Edge::CELL_BITS;
pub(super) const CELL: u32 = (1 << CELL_BITS) - 1;
const UNEXPANDED: u32 = CELL;
pub(super) const PENDING: u32 = CELL - 1;
/// An upper bound of the cells of nodes, which are all below it.
pub(super) const CELLS: u32 = PENDING;
const WIN: u32 = 1;
const DRAW: u32 = 2;
const LOSS: u32 = Edge::LOST;

/// The mark in a node's header that its player to move is not the one to move at its parent.
pub(super) const TURNED: u32 = 1 << 31;

/// A move from a node, with its statistics: 16 bytes.
///
/// **Values are from the view of the player to move at the node that owns the edge**: the one who chooses among its
/// edges. An evaluation is given for the player to move at the leaf; on the way back to the root it changes sign where
/// the turn has passed from one player to the other, which the header of each node tells.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(16))]
pub struct Edge {
    /// The prior as bfloat16 in the upper half, the action in the lower.
    pub(super) policy: u32,
    /// Sum of the values that were backed up through this edge.
    pub value_sum: f32,
    /// Finished simulations in the lower [`FINISHED_BITS`], descents in flight in the upper bits.
    pub(super) counts: u32,
    /// What the edge leads to, packed: see [`Edge::child`].
    pub(super) child: u32,
}

/// The nearest bfloat16 of a number from 0 to 1, as bits.
#[inline]
pub fn bfloat16(prior: f32) -> u16 {
    // A small positive number, so the carry cannot overflow.
    ((prior.to_bits() + 0x8000) >> 16) as u16
}

impl Edge {
    /// The bits of the third number of an edge that count finished simulations; the others count descents in flight. The
    /// numbers of an edge are, in this order: its prior and action, its value sum, its counts, and what it leads to.
    pub const FINISHED_BITS: u32 = 22;
    /// The mask of these bits.
    pub const FINISHED: u32 = (1 << Self::FINISHED_BITS) - 1;
    /// The bits of the fourth number below those of a known result.
    pub const CELL_BITS: u32 = 30;
    /// The known result of an edge that loses for the player who chooses it.
    pub const LOST: u32 = 3;

    /// An edge without visits. The prior, from 0 to 1, is rounded to bfloat16.
    #[inline]
    pub fn new(action: Action, prior: f32) -> Self {
        let mut edge = Self { policy: action.into(), value_sum: 0.0, counts: 0, child: UNEXPANDED };
        edge.set_prior(prior);
        edge
    }

    /// The action of the edge.
    #[inline]
    pub fn action(&self) -> Action {
        self.policy as Action
    }

    /// The prior of the edge: the network's probability of its action, mixed with noise at the root.
    #[inline]
    pub fn prior(&self) -> f32 {
        f32::from_bits(self.policy & 0xffff_0000)
    }

    /// Sets the prior, from 0 to 1, which is rounded to bfloat16.
    #[inline]
    pub fn set_prior(&mut self, prior: f32) {
        self.policy = u32::from(bfloat16(prior)) << 16 | self.policy & 0xffff;
    }

    /// Finished simulations through this edge: those whose values are in [`Edge::value_sum`].
    #[inline]
    pub fn visits(&self) -> u32 {
        self.counts & FINISHED
    }

    /// Descents through this edge whose values are not known yet; 0 unless leaves of the tree are in flight.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.counts >> FINISHED_BITS
    }

    /// Sets the numbers of finished simulations, below 2^22, and of descents in flight, below 2^10.
    #[inline]
    pub fn set_visits(&mut self, finished: u32, in_flight: u32) {
        debug_assert!(finished <= FINISHED && in_flight < 1 << (32 - FINISHED_BITS));
        self.counts = finished | in_flight << FINISHED_BITS;
    }

    /// Adds a descent in flight.
    #[inline]
    pub fn enter(&mut self) {
        debug_assert!(self.in_flight() + 1 < 1 << (32 - FINISHED_BITS));
        self.counts += ONE_IN_FLIGHT;
    }

    /// Takes back `descents` descents in flight, which end without a value.
    #[inline]
    pub fn leave(&mut self, descents: u32) {
        debug_assert!(self.in_flight() >= descents);
        self.counts -= descents * ONE_IN_FLIGHT;
    }

    /// Turns a descent in flight into a finished simulation with this value, for the player who chooses the edge.
    #[inline]
    pub fn finish(&mut self, value: f32) {
        debug_assert!(self.in_flight() > 0);
        self.counts = self.counts.wrapping_sub(ONE_IN_FLIGHT - 1);
        self.value_sum += value;
    }

    /// The mean value of the finished simulations, or `unvisited` if there are none.
    #[inline]
    pub fn value_or(&self, unvisited: f32) -> f32 {
        if self.visits() == 0 { unvisited } else { self.value_sum / self.visits() as f32 }
    }

    /// The known result of the edge for the player who chooses it, if there is one.
    #[inline]
    pub fn known(&self) -> Option<Outcome> {
        match self.child >> CELL_BITS {
            WIN => Some(Outcome::Win),
            DRAW => Some(Outcome::Draw),
            LOSS => Some(Outcome::Loss),
            _ => None,
        }
    }

    /// Whether the edge is known to lose for the player who chooses it.
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.child >> CELL_BITS == LOSS
    }

    /// What the edge leads to.
    #[inline]
    pub fn child(&self) -> Child {
        if let Some(outcome) = self.known() {
            return Child::Terminal(outcome);
        }
        match self.child {
            UNEXPANDED => Child::Unexpanded,
            PENDING => Child::Pending,
            cell => Child::Node(cell),
        }
    }

    /// The cell of the node behind the edge, if there is one, also where the result of the edge is proven.
    #[inline]
    pub fn node(&self) -> Option<u32> {
        Some(self.child & CELL).filter(|&cell| cell < CELLS)
    }

    /// Sets what the edge leads to. [`Child::Terminal`] keeps the node that is behind the edge.
    #[inline]
    pub fn set_child(&mut self, child: Child) {
        self.child = match child {
            Child::Unexpanded => UNEXPANDED,
            Child::Pending => PENDING,
            Child::Terminal(outcome) => {
                let result = match outcome {
                    Outcome::Win => WIN,
                    Outcome::Draw => DRAW,
                    Outcome::Loss => LOSS,
                };
                result << CELL_BITS | self.child & CELL
            }
            Child::Node(cell) => cell,
        };
    }

    /// Changes the cell of the node behind the edge.
    #[inline]
    pub(super) fn move_node(&mut self, cell: u32) {
        self.child = self.child & !CELL | cell;
    }

    /// A node's header is a cell of the same size in front of its edges: its parent's edge and node, how many edges
    /// follow and whether the turn has passed, and in the place of the value sum the value that its evaluation gave.
    #[inline]
    pub(super) fn header(parent_node: u32, parent_edge: u32, turn: Turn, edges: u32, value: f32) -> Self {
        Self { policy: parent_edge, value_sum: value, counts: parent_node, child: edges | turn.0 }
    }

    /// Edges behind a header.
    #[inline]
    pub(super) fn edges(&self) -> u32 {
        self.child & !TURNED
    }
}
