//! The [`Game`] trait, with which a game describes itself to lockstep, and the types that it uses.

use crate::{
    board,
    config::{GameConfig, Komi, OutOfRange},
};
use serde::{Deserialize, Serialize};
use std::{fmt, hash::Hash};

/// A move: its index in the policy of the game, in `0..G::ACTIONS`.
pub type Action = u16;

/// One of the two players.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The player who makes the first move of the game.
    First,
    /// The other player.
    Second,
}

impl Side {
    /// The opponent of this player.
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

/// What the board of a game looks like. The cells are those of [`Game::cell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BoardKind {
    /// Squares, with pieces on them.
    Squares,
    /// Squares in columns that are numbered from 1; a stone falls to the lowest free one of its column.
    Columns,
    /// Lines, with stones on their crossings.
    Points,
    /// Hexagons, each row half a cell to the right of the row above.
    Hexagons,
    /// Dots where row and column are even, boxes where both are odd, and lines between the dots elsewhere.
    Dots,
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

    /// The outcome of a game that is won by having more, from the comparison of what the player to move has with what
    /// the other player has.
    #[inline]
    pub fn of(comparison: std::cmp::Ordering) -> Self {
        match comparison {
            std::cmp::Ordering::Greater => Self::Win,
            std::cmp::Ordering::Equal => Self::Draw,
            std::cmp::Ordering::Less => Self::Loss,
        }
    }

    /// The outcome for the other player.
    #[inline]
    pub fn reversed(self) -> Self {
        match self {
            Self::Win => Self::Loss,
            Self::Draw => Self::Draw,
            Self::Loss => Self::Win,
        }
    }
}

/// The error of a text that is not a position or a move of the game, with a message for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// A zero-sum game of two players with perfect information and without chance. The players may move in any order: they
/// may pass, or move twice.
///
/// The implementing type is the **state** of a game: all that its rules need, including the history if they need it.
/// The network, the cache and the averaging of equal positions see only its [`Game::Key`], which is small and `Copy`.
/// The state of a game whose rules need no history is usually its own key.
///
/// A new game is one file that implements this trait and one line in [`crate::games`]: then it can be trained, played,
/// graded and matched, and the tests that hold for every game apply to it.
///
/// # What the path may do
/// Two states with the same key are the same to the network. The moves that led to them, the path, may make them differ
/// in two things: in which of the key's moves are allowed ([`Game::allows`], as with superko), and in when the game
/// ends ([`Game::outcome`], as after a greatest length). Priors are those of the key's moves; where some are not
/// allowed, the others share theirs. What a search proves belongs to its tree, never to a key. A game in which two such
/// states can differ says so with [`Game::HISTORY`].
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
    /// The part of a state that its evaluation depends on: it decides what [`Game::encode`] writes, and the moves.
    type Key: Copy + Ord + Hash + fmt::Debug + Send + Sync + 'static;

    /// The name in configurations, lower case: `"connect_four"`.
    const NAME: &'static str;
    /// The name for people: `"Connect Four"`.
    const TITLE: &'static str;
    /// Number of planes of the network's input.
    const PLANES: usize;
    /// Rows of a plane.
    const HEIGHT: usize;
    /// Columns of a plane.
    const WIDTH: usize;
    /// Size of the policy. Every [`Action`] is below it.
    const ACTIONS: usize;
    /// The largest number of moves that a key can have.
    const MAX_LEGAL: usize = Self::ACTIONS;
    /// Mean number of moves of a key over a search, rounded up. Trees and caches have room for it with a margin of a
    /// quarter; a tree that runs full ends its search early, which is counted.
    const MEAN_LEGAL: usize = Self::MAX_LEGAL;
    /// The largest number of plies (moves of one player) of a game.
    const MAX_PLIES: usize;
    /// Number of symmetries of the board, including the identity, which is symmetry 0. With the provided
    /// [`Game::transform_action`] there are 8 for a square, 4 for a rectangle, 2 for a mirror that exchanges left and
    /// right, or 1.
    const SYMMETRIES: usize = 1;
    /// What the board looks like, in text and in pictures.
    const BOARD: BoardKind = BoardKind::Squares;
    /// Whether rows are counted from the bottom, as on a chess board.
    const ROWS_UP: bool = false;
    /// Whether two states with the same key may differ in their legal moves or in when the game ends. Results under
    /// best play then belong to states and not to keys, and `lockstep label` does not look for them.
    const HISTORY: bool = false;
    /// What players of the game are graded against.
    const ORACLE: Oracle = Oracle::None;

    /// The most bytes that a state holds on the heap, as for a history. They are counted in the bound of a run's
    /// memory.
    const HEAP: usize = 0;

    /// Mean number of moves of a key for which trees, caches and the replay buffer have room.
    const ROOM: usize = {
        let room = Self::MEAN_LEGAL + Self::MEAN_LEGAL.div_ceil(4);
        if room < Self::MAX_LEGAL { room } else { Self::MAX_LEGAL }
    };

    /// Number of floats in the network's input for one position.
    const INPUT: usize = Self::PLANES * Self::HEIGHT * Self::WIDTH;

    /// The state before the first move.
    fn start() -> Self;

    /// The state before the first move under the rules that are set in `[game]`. The provided method is for games that
    /// have no rules to set.
    ///
    /// # Errors
    /// When a key is set that the game does not have, or its value is out of range.
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

    /// The key of the state.
    fn key(&self) -> Self::Key;

    /// The player to move.
    fn to_move(&self) -> Side;

    /// The moves of a key in ascending order. Must not be called for a finished game.
    fn moves(key: Self::Key) -> impl Iterator<Item = Action>;

    /// Whether the path to this state allows one of its key's moves. At least one is allowed in a game that is not over.
    #[inline]
    fn allows(&self, _action: Action) -> bool {
        true
    }

    /// The legal moves in ascending order: those of the key that the path allows. Must not be called for a finished
    /// game.
    #[inline]
    fn legal(&self) -> impl Iterator<Item = Action> {
        Self::moves(self.key()).filter(|&action| self.allows(action))
    }

    /// Whether `action` is a legal move in this state. False for every move of a finished game.
    fn is_legal(&self, action: Action) -> bool {
        self.outcome().is_none() && self.legal().any(|a| a == action)
    }

    /// Plays a legal move.
    fn play(&mut self, action: Action);

    /// How the game has ended, for the player who would be to move; `None` while it goes on.
    fn outcome(&self) -> Option<Outcome>;

    /// By how many points the first player is ahead, in games that count points, else `None`. At the end of the game it
    /// agrees with the outcome.
    fn score(&self) -> Option<f32> {
        None
    }

    /// The komi, that is, the points that the second player gets beside the board; `None` in games without komi.
    fn komi(&self) -> Option<f32> {
        None
    }

    /// The name for people, with the komi where there is one: `Go 9x9 with komi 6.5`.
    fn title(&self) -> String {
        self.komi().map_or(Self::TITLE.into(), |komi| format!("{} with komi {komi}", Self::TITLE))
    }

    /// Writes the network's input for a key, from the view of the player to move.
    ///
    /// # Shapes
    /// `planes`: `[PLANES, HEIGHT, WIDTH]` in row-major order, every number overwritten.
    fn encode(key: Self::Key, planes: &mut [f32]);

    /// The image of a key under a symmetry in `0..SYMMETRIES`.
    fn transform(key: Self::Key, symmetry: usize) -> Self::Key;

    /// The image of a move under a symmetry in `0..SYMMETRIES`. In the provided method moves below `HEIGHT * WIDTH` are
    /// cells, numbered row by row, and other moves stay as they are.
    #[inline]
    fn transform_action(action: Action, symmetry: usize) -> Action {
        if usize::from(action) >= Self::HEIGHT * Self::WIDTH {
            return action;
        }
        board::image(Self::HEIGHT, Self::WIDTH, Self::SYMMETRIES, symmetry, action.into()) as Action
    }

    /// A move as people write it. The provided method writes the cell's column and row, as in `c4`, and `pass` for the
    /// move that follows the last cell.
    fn action_text(&self, action: Action) -> String {
        let (height, width) = (Self::HEIGHT, Self::WIDTH);
        match usize::from(action) {
            cell if cell < height * width => board::cell_text(height, width, Self::ROWS_UP, cell),
            cell if cell == height * width => "pass".into(),
            other => format!("#{other}"),
        }
    }

    /// Reads a move as [`Game::action_text`] writes it.
    ///
    /// # Errors
    /// When the text names no legal move in this state; the message lists the legal moves.
    fn parse_action(&self, text: &str) -> Result<Action, ParseError> {
        let wanted = text.trim();
        let found = moves_text(self).into_iter().find(|(_, text)| text.eq_ignore_ascii_case(wanted));
        found.map(|(action, _)| action).ok_or_else(|| not_legal(self, wanted))
    }

    /// The state after a list of moves from the start, as people write them: `d3 c5 f6`. Spaces and commas may be left out
    /// where moves can be told apart without.
    ///
    /// # Errors
    /// When a move of the list is not legal; the message names it.
    fn parse(text: &str) -> Result<Self, ParseError> {
        Self::start().after(text)
    }

    /// The state after a list of moves from this one, as [`Game::parse`] reads it.
    ///
    /// # Errors
    /// When a move of the list is not legal; the message names it.
    fn after(self, text: &str) -> Result<Self, ParseError> {
        let mut game = self;
        game.line(text)?.into_iter().for_each(|action| game.play(action));
        Ok(game)
    }

    /// Reads a list of moves from this state as [`Game::parse`] does, and returns the moves.
    ///
    /// # Errors
    /// When a move of the list is not legal; the message names it.
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

    /// The character of a cell, for people: `x` for the first player, `o` for the second, `.` for nobody, as
    /// [`board::stone`] returns it; `+`, `-`, `|` and a space for dots, lines and free boxes.
    fn cell(&self, row: usize, column: usize) -> char;

    /// The cells that a legal move touches: the one that it fills, or the one that it leaves and the one that it goes to;
    /// none for a pass. The provided method takes moves below `HEIGHT * WIDTH` for cells.
    fn cells_of(&self, action: Action) -> Vec<usize> {
        Some(action.into()).into_iter().filter(|&cell| cell < Self::HEIGHT * Self::WIDTH).collect()
    }

    /// The board as lines of text with coordinates. One cell may be marked, as the last one that [`Game::cells_of`] has
    /// named for the move that led here.
    fn render(&self, marked: Option<usize>) -> String {
        board::render(self, marked)
    }

    /// The smallest of the symmetric forms of a key, which is equal for keys that are the same up to symmetry, and the
    /// symmetry that leads to it.
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
    /// No exact results are known.
    None,
    /// Every position can be solved when its result is asked for, because the game is small enough.
    Everything,
    /// A set of positions with exact scores of all moves: CSV as `lockstep grade --positions` reads it, compressed with
    /// zstd.
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

/// A text that somebody has given, cut if it is too long to be shown.
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
