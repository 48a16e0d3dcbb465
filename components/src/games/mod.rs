//! The games, and the registry that finds them by name.

use crate::Game;

/// Something to be done with a game that is known only by its name: see [`visit`].
pub trait GameVisitor {
    /// What the visitor returns.
    type Output;
    /// Called by [`visit`] with the type of the game.
    fn visit<G: Game>(self) -> Self::Output;
}

macro_rules! registry {
    ($($module:ident: $($game:ty),+;)*) => {
        $(mod $module; pub use $module::*;)*

        /// The names of all games.
        pub const NAMES: &[&str] = &[$($(<$game>::NAME),+),*];

        /// Calls `visitor` with the type of the game of this name.
        ///
        /// # Errors
        /// The visitor, which was not called, when no game has this name.
        pub fn visit<V: GameVisitor>(name: &str, visitor: V) -> Result<V::Output, V> {
            $($(if name == <$game>::NAME { return Ok(visitor.visit::<$game>()); })+)*
            Err(visitor)
        }
    };
}

// A new game is one file beside this one and one line here.
registry! {
    tictactoe: TicTacToe;
    connect_four: ConnectFour;
    othello: Othello<8>, Othello<6>;
    dots_and_boxes: DotsAndBoxes<3>;
    go: Go<5>, Go<7>, Go<9>;
    hex: Hex<5>, Hex<7>, Hex<11>;
    breakthrough: Breakthrough<8, 8>, Breakthrough<6, 5>;
    gomoku: Gomoku<15>, Gomoku<9>;
    clobber: Clobber;
}

#[cfg(test)]
mod tests;
