//! The components of a lane: one slot in which games are played one after another.

use crate::game::{Action, Game, Side};
use crate::record::GameId;
use bevy_ecs::prelude::*;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The state that the lane's game has reached.
#[derive(Component, Clone, Debug)]
pub struct Position<G: Game>(pub G);

/// The state that every game begins with.
#[derive(Resource, Clone, Debug)]
pub struct Start<G: Game>(pub G);

/// The random number generator of the game in a lane. Every random choice of the game comes from it, so a game does not
/// depend on the games that are played in other lanes.
#[derive(Component, Clone, Debug, PartialEq, Eq)]
pub struct LaneRng(pub Xoshiro256PlusPlus);

impl LaneRng {
    /// The generator of `stream` in the run with this seed. Streams are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        // Xoshiro's `seed_from_u64` goes through SplitMix64, which sets neighbouring seeds far apart.
        let mut mixed = Xoshiro256PlusPlus::seed_from_u64(seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed.next_u64() ^ stream))
    }

    /// The generator of one game of the run with this seed.
    pub fn of_game(seed: u64, game: GameId) -> Self {
        Self::new(seed, stream(game.round, game.number))
    }

    /// The generator of the opening that two games of a match share.
    pub fn of_opening(seed: u64, round: u64, pair: u64) -> Self {
        Self::new(seed, stream(round, pair) | 1 << 63)
    }

    /// The generator of the batches and symmetries that are drawn while the network learns from the games of a round.
    pub fn of_learning(seed: u64, round: u64) -> Self {
        Self::new(seed, stream(round, u64::from(u32::MAX)))
    }

    /// Draws a number uniformly from `[0, 1)`: a multiple of 2^-24.
    #[inline]
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u64() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// Draws a whole number uniformly from `0..n`, by multiplication; the bias is below `n / 2^64`.
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "nothing to choose from");
        ((self.0.next_u64() as u128 * n as u128) >> 64) as usize
    }

    /// Draws one of the legal moves of a game that is not over, each with the same chance.
    pub fn legal_move<G: Game>(&mut self, game: &G) -> Action {
        let choice = self.below(game.legal().count());
        game.legal().nth(choice).expect("a game in play has moves")
    }
}

/// The number of the first agent of the game in a lane: tree `i` of the lane is searched by agent `slot + i`. In
/// self-play several generations may be in play, each with an agent of its own; in a match the slot is 0.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(pub u8);

/// The stream of a game, or of another use of its number, in a round. Rounds are fewer than 2^31, and the games of a
/// round fewer than 2^32.
fn stream(round: u64, number: u64) -> u64 {
    (round << 32) | number
}

/// Which of the lane's trees moves for which player, as an offset from the lane's first tree.
///
/// `[0, 0]` in self-play, where one tree plays both sides; `[0, 1]` or `[1, 0]` in a match.
#[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seats(pub [u8; 2]);

impl Seats {
    /// The seats of the game with this number, for one agent or two: in a match the first agent has the first move in
    /// games with even numbers.
    pub fn of_game(agents: usize, number: u64) -> Self {
        match (agents, number % 2) {
            (1, _) => Self([0, 0]),
            (_, 0) => Self([0, 1]),
            _ => Self([1, 0]),
        }
    }

    /// The tree that moves for a player, as an offset from the lane's first tree.
    #[inline]
    pub fn of(self, player: Side) -> usize {
        self.0[player.index()] as usize
    }
}
