//! The components of a lane: one slot in which games are played one after another.

use crate::game::{Action, Game, Outcome, Player};
use bevy_ecs::prelude::*;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// The index of a lane, which is also its row.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane(pub u32);

/// The position that the lane's game has reached.
#[derive(Component, Clone, Copy, Debug)]
pub struct Position<G: Game>(pub G);

/// The generator of one lane. Every random choice of the lane comes from it and from nothing else, so a run does not
/// depend on which thread came first.
#[derive(Component, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRng(pub Xoshiro256PlusPlus);

impl LaneRng {
    /// The generator of `stream` in the run with this seed. Streams are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        // Xoshiro's `seed_from_u64` goes through SplitMix64, which sets neighbouring seeds far apart.
        let mut mixed = Xoshiro256PlusPlus::seed_from_u64(seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed.next_u64() ^ stream))
    }

    /// Uniform in `[0, 1)`.
    #[inline]
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u64() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// Uniform in `0..n`, by multiplication; the bias is below `n / 2^64`.
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "nothing to choose from");
        ((self.0.next_u64() as u128 * n as u128) >> 64) as usize
    }
}

/// Which of the lane's trees moves for which player, as an offset from the lane's first tree.
///
/// `[0, 0]` in self-play, where one tree plays both sides; `[0, 1]` or `[1, 0]` in a match.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seats(pub [u8; 2]);

impl Seats {
    /// The tree that moves for this player.
    #[inline]
    pub fn of(self, player: Player) -> usize {
        self.0[player.index()] as usize
    }
}

/// One move of a game in play or finished.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Ply<G: Game> {
    /// Before the move.
    pub position: G,
    /// The move played.
    pub action: Action,
    /// Value of the root after the search, for the player to move.
    pub root_value: f32,
    /// Whether the search was a full one, so that its visits become a policy target.
    pub recorded: bool,
    /// Where this ply's policy ends in [`Trajectory::policies`]; it starts where the one before ends.
    pub policy_end: u32,
}

/// The game that a lane is playing.
#[derive(Component, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Trajectory<G: Game> {
    /// Uniformly random moves that opened the game; they are not in `plies`.
    pub opening: Vec<Action>,
    /// The searched moves so far.
    pub plies: Vec<Ply<G>>,
    /// Visit shares of all recorded plies one after another, sparse: the move and its share of 65,535.
    pub policies: Vec<(Action, u16)>,
    /// Entropy of the visit shares, summed over recorded plies, in nats.
    pub entropy_sum: f32,
    /// Set by `Act` when the game is over: the outcome for the first player.
    pub finished: Option<Outcome>,
}

impl<G: Game> Default for Trajectory<G> {
    /// An empty trajectory with room for the longest game, so that playing allocates nothing.
    fn default() -> Self {
        Self {
            opening: Vec::with_capacity(G::MAX_PLIES),
            plies: Vec::with_capacity(G::MAX_PLIES),
            policies: Vec::with_capacity(G::MAX_PLIES * G::MAX_LEGAL),
            entropy_sum: 0.0,
            finished: None,
        }
    }
}

impl<G: Game> Trajectory<G> {
    /// Forgets the game and keeps the memory.
    pub fn clear(&mut self) {
        self.opening.clear();
        self.plies.clear();
        self.policies.clear();
        self.entropy_sum = 0.0;
        self.finished = None;
    }

    /// Each ply with its policy.
    pub fn iter(&self) -> impl Iterator<Item = (&Ply<G>, &[(Action, u16)])> {
        let mut start = 0;
        self.plies.iter().map(move |ply| {
            let policy = &self.policies[start..ply.policy_end as usize];
            start = ply.policy_end as usize;
            (ply, policy)
        })
    }

    /// Bytes that a trajectory occupies at most.
    pub const fn bytes() -> usize {
        size_of::<Self>() + G::MAX_PLIES * (size_of::<Ply<G>>() + 2 + 4 * G::MAX_LEGAL)
    }
}

/// A finished game as a list of moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GameRecord {
    /// All moves, the random opening included.
    pub moves: Vec<Action>,
    /// How many of them were the random opening.
    pub opening: u16,
    /// 1 if the first player won, 0 for a draw, -1 if the second won.
    pub result: i8,
}
