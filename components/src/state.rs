//! A state of a game whose type is not known.

use crate::{
    game::{Action, Game, Outcome, ParseError, Side},
    info::GameInfo,
    record::GameRecord,
};
use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
};

/// A state of some game, for whoever does not know the game's type: front ends, graders, and whoever reads games from files.
///
/// Two states are equal if they are of one game and have the same [`Game::key`].
pub struct State(Box<dyn Erased>);

/// The methods of a state, whatever its type.
trait Erased: Any + Send + Sync {
    fn info(&self) -> &'static GameInfo;
    fn boxed(&self) -> Box<dyn Erased>;
    fn legal(&self) -> Vec<Action>;
    fn play(&mut self, action: Action);
    fn outcome(&self) -> Option<Outcome>;
    fn to_move(&self) -> Side;
    fn score(&self) -> Option<f32>;
    fn komi(&self) -> Option<f32>;
    fn title(&self) -> String;
    fn action_text(&self, action: Action) -> String;
    fn parse_action(&self, text: &str) -> Result<Action, ParseError>;
    fn line(&self, text: &str) -> Result<Vec<Action>, ParseError>;
    fn render(&self, last: Option<Action>) -> String;
    fn encode(&self, planes: &mut [f32]);
    fn check(&self, game: &GameRecord) -> Result<(), String>;
    fn canonical(&self) -> Box<dyn Erased>;
    fn same_key(&self, other: &dyn Any) -> bool;
    fn hash_key(&self, hasher: &mut dyn Hasher);
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<G: Game> Erased for G {
    fn info(&self) -> &'static GameInfo {
        &const { GameInfo::of::<G>() }
    }

    fn boxed(&self) -> Box<dyn Erased> {
        Box::new(self.clone())
    }

    fn legal(&self) -> Vec<Action> {
        if self.outcome().is_some() { vec![] } else { Game::legal(self).collect() }
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

    fn line(&self, text: &str) -> Result<Vec<Action>, ParseError> {
        Game::line(self, text)
    }

    fn render(&self, last: Option<Action>) -> String {
        Game::render(self, last)
    }

    fn encode(&self, planes: &mut [f32]) {
        G::encode(self.key(), planes);
    }

    fn check(&self, game: &GameRecord) -> Result<(), String> {
        game.check(self.clone())
    }

    fn canonical(&self) -> Box<dyn Erased> {
        Box::new(G::of_key(G::canonical(self.key()).0))
    }

    fn same_key(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<G>().is_some_and(|other| other.key() == self.key())
    }

    fn hash_key(&self, mut hasher: &mut dyn Hasher) {
        self.key().hash(&mut hasher);
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
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

    /// The constants of the state's game.
    pub fn info(&self) -> &'static GameInfo {
        self.0.info()
    }

    /// The legal moves in ascending order; empty when the game is over.
    pub fn legal(&self) -> Vec<Action> {
        self.0.legal()
    }

    /// Whether a move is legal in this state. False for every move of a finished game.
    pub fn is_legal(&self, action: Action) -> bool {
        self.legal().contains(&action)
    }

    /// Plays a legal move.
    pub fn play(&mut self, action: Action) {
        self.0.play(action);
    }

    /// The state after a legal move.
    #[must_use]
    pub fn played(&self, action: Action) -> Self {
        let mut next = self.clone();
        next.play(action);
        next
    }

    /// How the game has ended for the player who would be to move; `None` while it goes on.
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.outcome()
    }

    /// The player to move.
    pub fn to_move(&self) -> Side {
        self.0.to_move()
    }

    /// By how many points the first player is ahead; `None` in games that count no points. See [`Game::score`].
    pub fn score(&self) -> Option<f32> {
        self.0.score()
    }

    /// The komi, that is, the points that the second player gets beside the board; `None` in games without komi.
    pub fn komi(&self) -> Option<f32> {
        self.0.komi()
    }

    /// The name of the game for people: see [`Game::title`].
    pub fn title(&self) -> String {
        self.0.title()
    }

    /// A move as people write it.
    pub fn action_text(&self, action: Action) -> String {
        self.0.action_text(action)
    }

    /// Reads a move as [`State::action_text`] writes it.
    ///
    /// # Errors
    /// When the text names no legal move in this state; the message lists the legal moves.
    pub fn parse_action(&self, text: &str) -> Result<Action, ParseError> {
        self.0.parse_action(text)
    }

    /// The state after a list of moves from this one, as [`Game::parse`] reads it.
    ///
    /// # Errors
    /// When a word of the text is no legal move; the message names it.
    pub fn after(&self, text: &str) -> Result<Self, ParseError> {
        let mut state = self.clone();
        self.0.line(text)?.into_iter().for_each(|action| state.play(action));
        Ok(state)
    }

    /// Reads a list of moves from this state as [`Game::parse`] does. Returns the states on the way, of which this one
    /// is the first, and the moves.
    ///
    /// # Errors
    /// When a word of the text is no legal move; the message names it.
    pub fn line(&self, text: &str) -> Result<(Vec<Self>, Vec<Action>), ParseError> {
        let (moves, mut states) = (self.0.line(text)?, vec![self.clone()]);
        moves.iter().for_each(|&action| states.push(states[states.len() - 1].played(action)));
        Ok((states, moves))
    }

    /// The board as lines of text with coordinates; the last move, if it is given, is marked.
    pub fn render(&self, last: Option<Action>) -> String {
        self.0.render(last)
    }

    /// The network's input for this state, `[planes, height, width]`.
    pub fn planes(&self) -> Vec<f32> {
        let mut planes = vec![0.0; self.info().input()];
        self.0.encode(&mut planes);
        planes
    }

    /// A state with the smallest of the symmetric forms of its key, whose history is not known: equal for states whose keys
    /// are the same up to symmetry.
    #[must_use]
    pub fn canonical(&self) -> Self {
        Self(self.0.canonical())
    }

    /// Checks that a record is a whole game from this state: see [`GameRecord::check`].
    ///
    /// # Errors
    /// A description of what is wrong with the record.
    pub fn check(&self, game: &GameRecord) -> Result<(), String> {
        self.0.check(game)
    }
}

impl Clone for State {
    fn clone(&self) -> Self {
        Self(self.0.boxed())
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_key(&*other.0)
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash_key(hasher);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
