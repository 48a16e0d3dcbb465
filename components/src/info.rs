//! The constants of a game, without its rules.

use crate::game::{BoardKind, Game, Oracle};
use std::fmt;

/// The constants of a game as a value, for code that needs none of its rules and so no type parameter.
///
/// Each field is the constant of [`Game`] with its name, unless it says otherwise.
#[derive(Clone, Copy)]
pub struct GameInfo {
    /// [`Game::NAME`]
    pub name: &'static str,
    /// [`Game::TITLE`]
    pub title: &'static str,
    /// [`Game::PLANES`]
    pub planes: usize,
    /// [`Game::HEIGHT`]
    pub height: usize,
    /// [`Game::WIDTH`]
    pub width: usize,
    /// [`Game::ACTIONS`]
    pub actions: usize,
    /// [`Game::MAX_LEGAL`]
    pub max_legal: usize,
    /// [`Game::ROOM`]
    pub room: usize,
    /// [`Game::MAX_PLIES`]
    pub max_plies: usize,
    /// [`Game::SYMMETRIES`]
    pub symmetries: usize,
    /// [`Game::BOARD`]
    pub board: BoardKind,
    /// [`Game::HISTORY`]
    pub history: bool,
    /// [`Game::HEAP`]
    pub heap: usize,
    /// [`Game::ORACLE`]
    pub oracle: Oracle,
}

impl GameInfo {
    /// The constants of the game `G`.
    pub const fn of<G: Game>() -> Self {
        Self {
            name: G::NAME,
            title: G::TITLE,
            planes: G::PLANES,
            height: G::HEIGHT,
            width: G::WIDTH,
            actions: G::ACTIONS,
            max_legal: G::MAX_LEGAL,
            room: G::ROOM,
            max_plies: G::MAX_PLIES,
            symmetries: G::SYMMETRIES,
            board: G::BOARD,
            history: G::HISTORY,
            heap: G::HEAP,
            oracle: G::ORACLE,
        }
    }

    /// Planes, height and width of the network's input.
    pub const fn shape(&self) -> [usize; 3] {
        [self.planes, self.height, self.width]
    }

    /// Number of floats in the network's input for one position.
    pub const fn input(&self) -> usize {
        self.planes * self.height * self.width
    }
}

impl fmt::Debug for GameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
