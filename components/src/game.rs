//! What a game has to tell lockstep about itself.

use crate::{
    board,
    config::{GameConfig, Komi, OutOfRange},
};
use serde::{Deserialize, Serialize};
use std::{fmt, hash::Hash};

/// Index of a move in the policy of a game, `0..G::ACTIONS`.
pub type Action = u16;

/// The two players. [`Side::First`] makes the first move of a game.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Makes the first move.
    First,
    /// Answers it.
    Second,
}

impl Side {
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

    /// How a game ends in which the player to move has more or less than the other one.
    #[inline]
    pub fn of(comparison: std::cmp::Ordering) -> Self {
        match comparison {
            std::cmp::Ordering::Greater => Self::Win,
            std::cmp::Ordering::Equal => Self::Draw,
            std::cmp::Ordering::Less => Self::Loss,
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

/// A zero-sum game of two players who both see everything. The players may move in any order: pass, or move twice.
///
/// The implementing type is the **state** of a game: all that its rules need, its history included where they do. What the
/// network, the cache and the averaging of equal positions go by is its [`Game::Key`], which is small and `Copy`. A game
/// whose rules need no history is its own key.
///
/// A new game is one file that implements this trait and one line in [`crate::games`]: then it can be trained, played,
/// graded and matched, and the tests that hold for every game apply to it. Games of chance, of one player, and those in
/// which something is hidden are none of these.
///
/// # What the path may do
/// Two states with the same key are the same to the network, and may differ in two things: in which of the key's moves are
/// allowed ([`Game::allows`], as superko has it), and in when the game ends ([`Game::outcome`], as after a longest length).
/// Priors are those of the key's moves; where some are not allowed, the others share theirs. What a search proves belongs
/// to its tree, never to a key. A game whose path does one of them says so with [`Game::HISTORY`].
///
/// # Example
///
/// ```
/// use lockstep_components::{Game, games::TicTacToe};
///
/// let mut game = TicTacToe::parse("b2 a1")?;
/// game.play(2);
/// assert_eq!(game.legal().count(), 6);
/// assert!(game.outcome().is_none());
/// # Ok::<(), lockstep_components::game::ParseError>(())
/// ```
pub trait Game: Clone + fmt::Debug + Send + Sync + 'static {
    /// The part of a state that its evaluation depends on: what [`Game::encode`] shows, and the moves.
    type Key: Copy + Ord + Hash + fmt::Debug + Send + Sync + 'static;

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
    /// The largest number of moves of any key.
    const MAX_LEGAL: usize = Self::ACTIONS;
    /// Moves of a key in the mean over a search, rounded up: what trees and caches have room for, with a margin of a
    /// quarter. A tree that runs full ends its search early, which is counted.
    const MEAN_LEGAL: usize = Self::MAX_LEGAL;
    /// No game has more plies (moves of one player) than this.
    const MAX_PLIES: usize;
    /// Symmetries of the board, the identity included. Symmetry 0 is the identity. With the default
    /// [`Game::transform_action`]: 8 those of a square, 4 those of a rectangle, 2 a mirror that exchanges left and right, or
    /// none but the identity.
    const SYMMETRIES: usize = 1;
    /// Whether rows are counted from the bottom, as on a chess board.
    const ROWS_UP: bool = false;
    /// Whether the path does what it may: two states with the same key may differ in their moves or in when the game ends.
    /// Results under best play then belong to states and not to keys, and `lockstep label` does not look for them.
    const HISTORY: bool = false;
    /// What players of it are graded against.
    const ORACLE: Oracle = Oracle::None;

    /// Bytes that a state holds at most beside itself, as for a history. The bound of a run's memory counts them.
    const HEAP: usize = 0;

    /// Moves of a key that trees, caches and the replay buffer have room for in the mean.
    const ROOM: usize = {
        let room = Self::MEAN_LEGAL + Self::MEAN_LEGAL.div_ceil(4);
        if room < Self::MAX_LEGAL { room } else { Self::MAX_LEGAL }
    };

    /// Numbers in the network's input for one position.
    const INPUT: usize = Self::PLANES * Self::HEIGHT * Self::WIDTH;

    /// The state before the first move.
    fn start() -> Self;

    /// The state before the first move under the rules that are set in `[game]`. By default a game has none to set.
    ///
    /// # Errors
    /// The key that the game does not have, or whose value is out of range.
    fn start_with(rules: &GameConfig) -> Result<Self, OutOfRange> {
        match rules.komi {
            Komi::Points(komi) => Err(OutOfRange {
                key: "game.komi",
                value: komi.to_string(),
                bound: format!("left out: {} has none", Self::TITLE),
            }),
            Komi::Usual(_) => Ok(Self::start()),
        }
    }

    /// A state with this key whose history is not known. Where the key does not tell who is to move, it is
    /// [`Side::First`].
    fn of_key(key: Self::Key) -> Self;

    /// Its key.
    fn key(&self) -> Self::Key;

    /// Whose turn it is.
    fn to_move(&self) -> Side;

    /// The moves of a key in ascending order. Must not be asked of a finished game.
    fn moves(key: Self::Key) -> impl Iterator<Item = Action>;

    /// Whether the path to this state allows one of its key's moves. At least one is allowed in a game that is not over.
    #[inline]
    fn allows(&self, _action: Action) -> bool {
        true
    }

    /// The legal moves in ascending order: those of the key that the path allows. Must not be asked of a finished game.
    #[inline]
    fn legal(&self) -> impl Iterator<Item = Action> {
        Self::moves(self.key()).filter(|&action| self.allows(action))
    }

    /// Whether `action` is a legal move here. False for every move of a finished game.
    fn is_legal(&self, action: Action) -> bool {
        self.outcome().is_none() && self.legal().any(|a| a == action)
    }

    /// Plays a legal move.
    fn play(&mut self, action: Action);

    /// `None` while the game goes on.
    fn outcome(&self) -> Option<Outcome>;

    /// By how much the first player is ahead at the end of a game, in games that count it.
    fn score(&self) -> Option<f32> {
        None
    }

    /// Points that the second player gets beside the board, in games that have komi.
    fn komi(&self) -> Option<f32> {
        None
    }

    /// The name for people, with the komi where there is one: `Go 9x9 with komi 6.5`.
    fn title(&self) -> String {
        self.komi().map_or(Self::TITLE.into(), |komi| format!("{} with komi {komi}", Self::TITLE))
    }

    /// Writes the network's input, from the view of the player to move.
    ///
    /// # Shapes
    /// `planes`: `[PLANES, HEIGHT, WIDTH]` in row-major order, every number overwritten.
    fn encode(key: Self::Key, planes: &mut [f32]);

    /// A key under symmetry `0..SYMMETRIES`.
    fn transform(key: Self::Key, symmetry: usize) -> Self::Key;

    /// Where symmetry `0..SYMMETRIES` takes a move. By default moves below `HEIGHT * WIDTH` are cells, row by row, and others
    /// stay what they are.
    #[inline]
    fn transform_action(action: Action, symmetry: usize) -> Action {
        if usize::from(action) >= Self::HEIGHT * Self::WIDTH {
            return action;
        }
        board::image(Self::HEIGHT, Self::WIDTH, Self::SYMMETRIES, symmetry, action.into()) as Action
    }

    /// A move as people write it. By default the cell's column and row, `c4`, and `pass` for the move behind the last cell.
    fn action_text(&self, action: Action) -> String {
        let (height, width) = (Self::HEIGHT, Self::WIDTH);
        match usize::from(action) {
            cell if cell < height * width => board::cell_text(height, width, Self::ROWS_UP, cell),
            cell if cell == height * width => "pass".into(),
            other => format!("#{other}"),
        }
    }

    /// Reads what [`Game::action_text`] writes.
    ///
    /// # Errors
    /// When the text names no legal move here; the message lists what is expected.
    fn parse_action(&self, text: &str) -> Result<Action, ParseError> {
        let wanted = text.trim();
        let found = moves_text(self).into_iter().find(|(_, text)| text.eq_ignore_ascii_case(wanted));
        found.map(|(action, _)| action).ok_or_else(|| not_legal(self, wanted))
    }

    /// The state after a list of moves from the start, as people write them: `d3 c5 f6`. Spaces and commas may be left out
    /// where moves can be told apart without.
    ///
    /// # Errors
    /// When it is none; the message names the move.
    fn parse(text: &str) -> Result<Self, ParseError> {
        Self::start().after(text)
    }

    /// The state after a list of moves from this one, as [`Game::parse`] reads it.
    ///
    /// # Errors
    /// When it is none; the message names the move.
    fn after(self, text: &str) -> Result<Self, ParseError> {
        let mut game = self;
        game.line(text)?.into_iter().for_each(|action| game.play(action));
        Ok(game)
    }

    /// The moves of a list from this state, as [`Game::parse`] reads it.
    ///
    /// # Errors
    /// When one of them is not legal; the message names the move.
    fn line(&self, text: &str) -> Result<Vec<Action>, ParseError> {
        let mut game = self.clone();
        let mut moves = vec![];
        let mut rest = text.trim_start();
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let separator = |c: char| c.is_whitespace() || c == ',';
            let word = rest.split(separator).next().unwrap_or(rest);
            let fail = |why: String| {
                let (text, title) = (text.trim(), Self::TITLE);
                let shown = shortened(text);
                Err(ParseError(format!(
                    "'{shown}' is not a {title} position: move {number}, '{}', {why}",
                    shortened(word)
                )))
            };
            if game.outcome().is_some() {
                return fail("comes after the end of the game".into());
            }
            let legal = moves_text(&game);
            let here = legal
                .iter()
                .filter(|(_, text)| rest.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text)));
            match here.max_by_key(|(_, text)| text.len()) {
                Some((action, text)) => {
                    game.play(*action);
                    moves.push(*action);
                    rest = rest[text.len()..].trim_start_matches(separator);
                }
                None => return fail(format!("is not legal; legal moves are {}", list(&legal))),
            }
        }
        Ok(moves)
    }

    /// What stands on a cell, for [`Game::render`].
    fn cell(&self, row: usize, column: usize) -> char;

    /// The cell that a move is marked at when it was the last one. By default the cell that it is.
    fn marked(&self, last: Action) -> Option<usize> {
        Some(last.into()).filter(|&cell| cell < Self::HEIGHT * Self::WIDTH)
    }

    /// The board as lines of text with coordinates; the last move, if it is given, is marked.
    fn render(&self, last: Option<Action>) -> String {
        let row = |row| Some(board::row_number(Self::HEIGHT, Self::ROWS_UP, row));
        board::render(self, last, board::column_text, row)
    }

    /// The smallest of the symmetric forms of a key: equal for keys that are the same up to symmetry. And the symmetry that
    /// leads to it.
    #[inline]
    fn canonical(key: Self::Key) -> (Self::Key, usize) {
        let mut best = (key, 0);
        for s in 1..Self::SYMMETRIES {
            let t = Self::transform(key, s);
            if t < best.0 {
                best = (t, s);
            }
        }
        best
    }
}

/// What players of a game are graded against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// Nothing exact is known.
    None,
    /// All positions, solved when they are asked for: for games that are small enough.
    Everything,
    /// Positions with exact scores of all moves: CSV as `lockstep grade --positions` reads it, compressed with zstd.
    Positions(&'static [u8]),
}

/// The legal moves with their texts.
fn moves_text<G: Game>(game: &G) -> Vec<(Action, String)> {
    if game.outcome().is_some() {
        return vec![];
    }
    game.legal().map(|action| (action, game.action_text(action))).collect()
}

fn list(moves: &[(Action, String)]) -> String {
    moves.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" ")
}

#[cold]
fn not_legal<G: Game>(game: &G, wanted: &str) -> ParseError {
    let wanted = shortened(wanted);
    if game.outcome().is_some() {
        return ParseError(format!("'{wanted}' is no move here: the game is over"));
    }
    ParseError(format!("'{wanted}' is not a legal move here; legal moves are {}", list(&moves_text(game))))
}

/// A text of somebody's, cut where it is too long to be shown.
fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    let mut shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown += "...";
    }
    shown
}

/// Iterates over the set bits of a mask, lowest first: the usual form of [`Game::moves`].
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
