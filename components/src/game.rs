//! What a game has to tell lockstep about itself.

use serde::{Deserialize, Serialize};
use std::{fmt, hash::Hash, str::FromStr};

/// Index of a move in the policy of a game, `0..G::ACTIONS`.
pub type Action = u16;

/// The two players. [`Player::First`] makes the first move of a game.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Player {
    /// Makes the first move.
    First,
    /// Answers it.
    Second,
}

impl Player {
    /// The other one.
    #[inline]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// 0 for the first player, 1 for the second.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How a finished game ended **for the player who would be to move**.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The player to move has won.
    Win,
    /// Neither player has won.
    Draw,
    /// The player to move has lost. Most games end so: the last move wins.
    Loss,
}

impl Outcome {
    /// 1, 0 or -1, for the player to move.
    #[inline]
    pub fn value(self) -> f32 {
        match self {
            Self::Win => 1.0,
            Self::Draw => 0.0,
            Self::Loss => -1.0,
        }
    }

    /// The same outcome as the other player sees it.
    #[inline]
    pub fn reversed(self) -> Self {
        match self {
            Self::Win => Self::Loss,
            Self::Draw => Self::Draw,
            Self::Loss => Self::Win,
        }
    }
}

/// A text that is not a position or a move of the game.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// A two-player, zero-sum, perfect-information game in which the players alternate.
///
/// The implementing type **is** a position: small, `Copy`, without heap.
/// Its text form ([`fmt::Display`] and [`FromStr`]) is the list of moves or any notation that identifies the position.
///
/// A new game is one file that implements this trait, one line in [`crate::games`], and one configuration;
/// the shared property tests then apply to it.
///
/// # Example
///
/// ```
/// use lockstep_components::{Game, games::TicTacToe};
///
/// let mut position = TicTacToe::start();
/// position.play(4);
/// assert_eq!(position.legal().count(), 8);
/// assert!(position.outcome().is_none());
/// ```
pub trait Game:
    Copy + Ord + Hash + fmt::Debug + fmt::Display + FromStr<Err = ParseError> + Send + Sync + 'static
{
    /// The name in configurations, lower case: `"connect_four"`.
    const NAME: &'static str;
    /// The name for people: `"Connect Four"`.
    const TITLE: &'static str;
    /// Planes of the network's input.
    const PLANES: usize;
    /// Rows of a plane.
    const HEIGHT: usize;
    /// Columns of a plane.
    const WIDTH: usize;
    /// Size of the policy. Every [`Action`] is below it.
    const ACTIONS: usize;
    /// The largest number of legal moves in any position.
    const MAX_LEGAL: usize;
    /// No game has more plies (moves of one player) than this.
    const MAX_PLIES: usize;
    /// Symmetries of the board, the identity included. Symmetry 0 is the identity.
    const SYMMETRIES: usize;

    /// Numbers in the network's input for one position.
    const INPUT: usize = Self::PLANES * Self::HEIGHT * Self::WIDTH;

    /// The position before the first move.
    fn start() -> Self;

    /// Whose turn it is.
    fn to_move(&self) -> Player;

    /// The legal moves in ascending order. Must not be asked of a finished game.
    fn legal(&self) -> impl Iterator<Item = Action>;

    /// Whether `action` is a legal move here. False for every move of a finished game.
    fn is_legal(&self, action: Action) -> bool {
        self.outcome().is_none() && self.legal().any(|a| a == action)
    }

    /// Plays a legal move.
    fn play(&mut self, action: Action);

    /// `None` while the game goes on.
    fn outcome(&self) -> Option<Outcome>;

    /// Writes the network's input, from the view of the player to move.
    ///
    /// # Shapes
    /// `planes`: `[PLANES, HEIGHT, WIDTH]` in row-major order, every number overwritten.
    fn encode(&self, planes: &mut [f32]);

    /// This position under symmetry `0..SYMMETRIES`.
    fn transform(&self, symmetry: usize) -> Self;

    /// Where symmetry `0..SYMMETRIES` takes a move.
    fn transform_action(action: Action, symmetry: usize) -> Action;

    /// A move as people write it.
    fn action_text(&self, action: Action) -> String;

    /// Reads what [`Game::action_text`] writes.
    ///
    /// # Errors
    /// When the text names no legal move here; the message lists what is expected.
    fn parse_action(&self, text: &str) -> Result<Action, ParseError> {
        let wanted = text.trim();
        let legal: Vec<Action> = if self.outcome().is_none() { self.legal().collect() } else { vec![] };
        legal.iter().copied().find(|&a| self.action_text(a).eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            let moves: Vec<_> = legal.iter().map(|&a| self.action_text(a)).collect();
            ParseError(format!("'{wanted}' is not a legal move here; legal moves are {}", moves.join(" ")))
        })
    }

    /// The board as lines of text, with coordinates.
    fn render(&self) -> String;

    /// The smallest of the symmetric forms of this position: equal for positions that are the same up to symmetry.
    fn canonical(&self) -> (Self, usize) {
        let mut best = (*self, 0);
        for s in 1..Self::SYMMETRIES {
            let t = self.transform(s);
            if t < best.0 {
                best = (t, s);
            }
        }
        best
    }
}

/// Iterates over the set bits of a mask, lowest first: the usual form of [`Game::legal`].
#[derive(Clone, Copy, Debug)]
pub struct Bits(pub u64);

impl Iterator for Bits {
    type Item = Action;

    #[inline]
    fn next(&mut self) -> Option<Action> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit as Action)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.0.count_ones() as usize;
        (n, Some(n))
    }
}

impl ExactSizeIterator for Bits {}
