//! A state of a game whose type is not known.

use crate::{
    board,
    game::{Action, Game, Outcome, ParseError, Side},
    info::GameInfo,
    record::GameRecord,
};
use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
};

/// A state of some game, for whoever does not know the game's type: front ends, graders, and whoever reads games from files.
///
/// What can be asked of a state is in [`AnyState`]. Two states are equal if they are of one game and have the same
/// [`Game::key`].
pub struct State(Box<dyn AnyState>);

/// What a state of any game does. Each method is the one of [`Game`] with its name, unless it says otherwise.
pub trait AnyState: Any + Send + Sync {
    /// What is known of the game without its rules.
    fn info(&self) -> &'static GameInfo;
    /// The legal moves in ascending order; none in a game that is over.
    fn legal(&self) -> Vec<Action>;
    /// Whether a move is legal here. False for every move of a finished game.
    fn is_legal(&self, action: Action) -> bool;
    /// Plays a legal move.
    fn play(&mut self, action: Action);
    /// How the game has ended for the player who would be to move; `None` while it goes on.
    fn outcome(&self) -> Option<Outcome>;
    /// Whose turn it is.
    fn to_move(&self) -> Side;
    /// By how much the first player is ahead at the end of a game, in games that count it.
    fn score(&self) -> Option<f32>;
    /// Points that the second player gets beside the board, in games that have komi.
    fn komi(&self) -> Option<f32>;
    /// The name of the game for people, with the komi where there is one.
    fn title(&self) -> String;
    /// A move as people write it.
    fn action_text(&self, action: Action) -> String;
    /// Reads what [`AnyState::action_text`] writes.
    ///
    /// # Errors
    /// When the text names no legal move here; the message lists what is expected.
    fn parse_action(&self, text: &str) -> Result<Action, ParseError>;
    /// The moves of a list from this state, as people write them; see [`Game::parse`].
    ///
    /// # Errors
    /// When a word of the text is no legal move; the message names it.
    fn moves_of(&self, text: &str) -> Result<Vec<Action>, ParseError>;
    /// The cells that a legal move touches.
    fn cells_of(&self, action: Action) -> Vec<usize>;
    /// The board as lines of text with coordinates; one cell may be marked.
    fn render(&self, marked: Option<usize>) -> String;
    /// The characters of all cells, row by row: see [`Game::cell`].
    fn cells(&self) -> String;
    /// The names of the columns from the left, and those of the rows from the top, empty where they have none.
    fn names(&self) -> [Vec<String>; 2];
    /// The network's input, `[planes, height, width]`.
    fn planes(&self) -> Vec<f32>;
    /// Whether a record is a whole game from this state: see [`GameRecord::check`].
    ///
    /// # Errors
    /// What is wrong with the record.
    fn check(&self, game: &GameRecord) -> Result<(), String>;
    /// A copy of the state.
    fn copy(&self) -> State;
    /// A state with the smallest of the symmetric forms of the key, whose history is not known: equal for states whose keys are
    /// the same up to symmetry.
    fn canonical(&self) -> State;
    /// A move as a move of [`AnyState::canonical`]. Searches ask the network about that form of a position alone.
    fn canonical_action(&self, action: Action) -> Action;
    /// Whether another state is one of this game with the same key.
    fn has_key_of(&self, other: &dyn Any) -> bool;
    /// Feeds the key to a hasher.
    fn hash_key(&self, hasher: &mut dyn Hasher);
    /// The state for programmers.
    fn debug(&self) -> &dyn fmt::Debug;
}

impl<G: Game> AnyState for G {
    fn info(&self) -> &'static GameInfo {
        &const { GameInfo::of::<G>() }
    }

    fn legal(&self) -> Vec<Action> {
        if Game::outcome(self).is_some() { vec![] } else { Game::legal(self).collect() }
    }

    fn is_legal(&self, action: Action) -> bool {
        Game::is_legal(self, action)
    }

    fn play(&mut self, action: Action) {
        Game::play(self, action);
    }

    fn outcome(&self) -> Option<Outcome> {
        Game::outcome(self)
    }

    fn to_move(&self) -> Side {
        Game::to_move(self)
    }

    fn score(&self) -> Option<f32> {
        Game::score(self)
    }

    fn komi(&self) -> Option<f32> {
        Game::komi(self)
    }

    fn title(&self) -> String {
        Game::title(self)
    }

    fn action_text(&self, action: Action) -> String {
        Game::action_text(self, action)
    }

    fn parse_action(&self, text: &str) -> Result<Action, ParseError> {
        Game::parse_action(self, text)
    }

    fn moves_of(&self, text: &str) -> Result<Vec<Action>, ParseError> {
        self.line(text)
    }

    fn cells_of(&self, action: Action) -> Vec<usize> {
        Game::cells_of(self, action)
    }

    fn render(&self, marked: Option<usize>) -> String {
        Game::render(self, marked)
    }

    fn cells(&self) -> String {
        (0..G::HEIGHT * G::WIDTH).map(|cell| self.cell(cell / G::WIDTH, cell % G::WIDTH)).collect()
    }

    fn names(&self) -> [Vec<String>; 2] {
        [board::column_names::<G>(), board::row_names::<G>()]
    }

    fn planes(&self) -> Vec<f32> {
        let mut planes = vec![0.0; G::INPUT];
        G::encode(self.key(), &mut planes);
        planes
    }

    fn check(&self, game: &GameRecord) -> Result<(), String> {
        game.check(self.clone())
    }

    fn copy(&self) -> State {
        State::of(self.clone())
    }

    fn canonical(&self) -> State {
        State::of(G::of_key(G::canonical(self.key()).0))
    }

    fn canonical_action(&self, action: Action) -> Action {
        G::transform_action(action, G::canonical(self.key()).1)
    }

    fn has_key_of(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<G>().is_some_and(|other| other.key() == self.key())
    }

    fn hash_key(&self, mut hasher: &mut dyn Hasher) {
        self.key().hash(&mut hasher);
    }

    fn debug(&self) -> &dyn fmt::Debug {
        self
    }
}

impl State {
    /// Wraps a state of the game `G`.
    pub fn of<G: Game>(state: G) -> Self {
        Self(Box::new(state))
    }

    /// The state as a `G`; `None` if it is a state of another game.
    pub fn get<G: Game>(&self) -> Option<&G> {
        (&*self.0 as &dyn Any).downcast_ref()
    }

    /// The state behind a legal move.
    #[must_use]
    pub fn played(&self, action: Action) -> Self {
        let mut next = self.clone();
        next.play(action);
        next
    }

    /// The state after a list of moves from this one, as [`Game::parse`] reads it.
    ///
    /// # Errors
    /// When a word of the text is no legal move; the message names it.
    pub fn after(&self, text: &str) -> Result<Self, ParseError> {
        let mut state = self.clone();
        self.moves_of(text)?.into_iter().for_each(|action| state.play(action));
        Ok(state)
    }

    /// Reads a list of moves from this state as [`Game::parse`] does. Returns the states on the way, of which this one
    /// is the first, and the moves.
    ///
    /// # Errors
    /// When a word of the text is no legal move; the message names it.
    pub fn line(&self, text: &str) -> Result<(Vec<Self>, Vec<Action>), ParseError> {
        let (moves, mut states) = (self.moves_of(text)?, vec![self.clone()]);
        moves.iter().for_each(|&action| states.push(states[states.len() - 1].played(action)));
        Ok((states, moves))
    }
}

impl Deref for State {
    type Target = dyn AnyState;

    fn deref(&self) -> &dyn AnyState {
        &*self.0
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut dyn AnyState {
        &mut *self.0
    }
}

impl Clone for State {
    fn clone(&self) -> Self {
        self.copy()
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.has_key_of(&*other.0)
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash_key(hasher);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug().fmt(f)
    }
}
